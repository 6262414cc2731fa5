// What listeners have in common: rooms from stdin, so many at once, and a line for each.
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";

const PATIENCE = 5000;
const SETTLING = 200;

export const [proxy, server, events, gap, atOnce] = process.argv.slice(-5).map((word, at) => (at < 2 ? word : Number(word)));

// Wait until `done()`, or until it is given up, so many milliseconds later.
export async function until(done, patience = PATIENCE) {
  for (const end = Date.now() + patience; !done() && Date.now() < end; ) await sleep(10);
}

// Have `enter(room)` give { heard, ready, say, leave }, and say all events there.
export async function inTurn(enter) {
  const rooms = (await text(process.stdin)).split(/\s+/).filter(Boolean);
  const work = async () => {
    for (let room; (room = rooms.shift()); ) {
      const { heard, ready, say, leave } = enter(room);
      await until(ready, 4 * PATIENCE);
      for (let n = 1; n <= events; n++) {
        say(n);
        await sleep(gap * 1000);
      }
      await until(() => heard.includes(events));
      await sleep(SETTLING);
      leave();
      console.log(JSON.stringify({ room, heard, ended: false }));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  process.exit(0);
}
