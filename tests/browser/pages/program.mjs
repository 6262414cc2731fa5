/** The same life in node, deno or bun: told by lines of JSON what to do, it answers in such lines. */

import { connect } from "../../../squire_gatherings/browser/index.js";
import { Life } from "./life.js";
import { createInterface } from "node:readline";

const lives = Array.from({ length: Number(process.argv[3]) }, () => {
  return new Life(connect, process.argv[2], "room", {});
});
for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...more] = JSON.parse(line);
  const answers = await Promise.all(lives.map((life) => life[what](...more) ?? null));
  console.log(JSON.stringify(answers));
}
await Promise.all(lives.map(({ room }) => room.close()));
