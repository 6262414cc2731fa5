// Folds logs as the page does: reads [[op, stamp], ...] per line, writes the state and standings.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`);
const { EMPTY, fold } = await import(new URL("tournament.js", page));
const { standings } = await import(new URL("standings.js", page));

for await (const line of createInterface({ input: process.stdin })) {
  let night = EMPTY;
  for (const [op, stamp] of JSON.parse(line)) night = fold(night, op, stamp);
  console.log(JSON.stringify({ night, standings: standings(night) }));
}
