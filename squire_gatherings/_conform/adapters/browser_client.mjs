/** The adapter of the browser client, in node, deno or bun: `node browser_client.mjs`. */

import { createInterface } from "node:readline";
import { connect } from "../../browser/index.js";

const URL = process.env.SQUIRE_URL;
const report = (report, fields = {}) => console.log(JSON.stringify({ report, ...fields }));

/** Report what others do, and how it ends. */
async function watch(room) {
  while (!room.failure) {
    try {
      for await (const { seq, by, op } of room.changes()) report("change", { seq, by, op });
      if (room.failure) return;
      report("ended", { reason: room.dispersed.reason });
    } catch (error) {
      if (error.code !== "log_replaced") return;
      report("restarted");
    }
  }
}

function join({ gathering, token, renew }) {
  const room = connect(URL, gathering, {
    token: (why) => (why === "join" ? token : renew),
    initial: () => [],
    fold: (ops, op) => [...ops, op],
    restore: (snapshot) => snapshot,
    optimistic: false,
    tabs: false,
  });
  room.addEventListener("closed", ({ detail }) => {
    if (detail.code !== "left") report("over", { error: detail.code });
  });
  watch(room);
  return room;
}

report("ready", {
  name: "squire_gatherings/browser",
  can: ["state", "snapshot", "fetch", "renew"],
  encodings: ["json"],
});
let room = null;
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const { id } = order;
  if (order.do === "join") room = join(order);
  else if (order.do === "submit") {
    room.submit(order.ops).then(
      (seqs) => report("outcome", { id, seqs }),
      ({ code }) => code !== "left" && report("outcome", { id, error: code }),
    );
  } else if (order.do === "fetch") {
    room.fetch({ at: order.at, since: 0 }).then(({ seq, changes }) => {
      report("fetched", { id, seq, ops: changes.map(({ op }) => op) });
    });
  } else if (order.do === "state") report("state", { ops: room.state });
  else if (order.do === "leave") room.close().then(() => report("left"));
}
process.exit(0);
