import assert from "node:assert/strict";
import test from "node:test";

import { Watched, lifeline, remembered, scale } from "../../../../squire_gatherings/_admin/page/static/life.mjs";

const row = (more) => ({ stage: "open", opened: 0, last: 0, at: 100, rate: 0, ...more });
const kinds = ({ pieces }) => pieces.map(({ kind, from, to }) => [kind, from, to]);

test("what nobody watched isn't made up, but quiet is known", () => {
  const line = lifeline({ row: row({ last: 30 }), watched: new Watched(), now: 50 });
  assert.deepEqual(kinds(line), [
    ["unwatched", 0, 30],
    ["quiet", 30, 50],
    ["ahead", 50, 100],
  ]);
});

test("what was watched is told: busy, quiet, asleep", () => {
  const watched = new Watched();
  for (let now = 20; now <= 25; now += 1) watched.saw(row({ rate: 3 }), now);
  for (let now = 26; now <= 28; now += 1) watched.saw(row({ rate: 0 }), now);
  for (let now = 29; now <= 30; now += 1) watched.saw(row({ stage: "asleep" }), now);
  const line = lifeline({ row: row({ last: 25 }), watched, now: 30 });
  assert.deepEqual(kinds(line), [
    ["unwatched", 0, 20],
    ["busy", 20, 26],
    ["quiet", 26, 29],
    ["asleep", 29, 30],
    ["ahead", 30, 100],
  ]);
});

test("one that sleeps has slept since it was quiet for long enough, watched or not", () => {
  const asleep = row({ stage: "asleep", last: 10 });
  const past = remembered({ since: 1000, until: 1050, ops: [1, 0, 0, 0, 0] }, 1000);
  const watched = new Watched();
  for (let now = 48; now <= 50; now += 1) watched.saw(asleep, now);
  for (const pasts of [past, []]) {
    const line = lifeline({ row: asleep, watched, past: pasts, now: 50, sleepAfter: 5 });
    assert.deepEqual(kinds(line).slice(1), [
      ["quiet", 10, 15],
      ["asleep", 15, 50],
      ["ahead", 50, 100],
    ]);
  }
  const evicted = lifeline({ row: asleep, watched: new Watched(), past, now: 50 });
  assert.deepEqual(kinds(evicted)[1], ["asleep", 10, 50]);
});

test("a hole between two looks is one in the line, too", () => {
  const watched = new Watched();
  watched.saw(row({ rate: 3 }), 10);
  watched.saw(row({ rate: 3 }), 11);
  watched.saw(row({ rate: 3 }), 40);
  watched.saw(row({ rate: 3 }), 41);
  const line = lifeline({ row: row({ last: 41 }), watched, now: 41 });
  assert.deepEqual(kinds(line).slice(0, 4), [
    ["unwatched", 0, 10],
    ["busy", 10, 11],
    ["unwatched", 11, 40],
    ["busy", 40, 41],
  ]);
});

test("what nobody watched is as the log has it", () => {
  const past = remembered({ since: 1000, until: 1040, ops: [2, 0, 0, 1] }, 1000);
  assert.deepEqual(past, [
    { kind: "busy", from: 0, to: 10 },
    { kind: "quiet", from: 10, to: 30 },
    { kind: "busy", from: 30, to: 40 },
  ]);
  const watched = new Watched();
  assert.equal(watched.saw(row({ rate: 3 }), 20), false);
  assert.equal(watched.saw(row({ rate: 3 }), 22), false);
  assert.equal(watched.saw(row({ rate: 0 }), 50), true);
  const line = lifeline({ row: row({ last: 45 }), watched, past, now: 60 });
  assert.deepEqual(kinds(line), [
    ["busy", 0, 10],
    ["quiet", 10, 20],
    ["busy", 20, 22],
    ["quiet", 22, 30],
    ["busy", 30, 40],
    ["unwatched", 40, 45],
    ["quiet", 45, 60],
    ["ahead", 60, 100],
  ]);
  const ended = lifeline({ row: null, end: { opened: 0, at: 40 }, past, now: 60 });
  assert.deepEqual(kinds(ended), past.map(({ kind, from, to }) => [kind, from, to]));
});

test("what is held lies beyond what the rules say", () => {
  const line = lifeline({ row: row({}), watched: new Watched(), now: 50, heldFrom: 80 });
  assert.deepEqual(kinds(line).slice(1), [
    ["ahead", 50, 80],
    ["held", 80, 100],
  ]);
});

test("one that never ends, and one that has ended", () => {
  const never = lifeline({ row: row({ at: null }), watched: new Watched(), now: 50 });
  assert.deepEqual([never.end, kinds(never)], [null, [["quiet", 0, 50]]]);
  const ended = lifeline({ row: null, end: { opened: 5, at: 40 }, watched: null, now: 60 });
  assert.deepEqual([ended.end, kinds(ended)], [40, [["unwatched", 5, 40]]]);
});

test("pieces follow each other without a hole, and are remembered up to a bound", () => {
  const watched = new Watched(10);
  for (let now = 0; now < 100; now += 1) watched.saw(row({ rate: now % 2 }), now);
  assert.equal(watched.pieces.length, 10);
  const { pieces } = lifeline({ row: row({ last: 99 }), watched, now: 99.5 });
  pieces.slice(1).forEach((piece, index) => assert.equal(piece.from, pieces[index].to));
  assert.equal(pieces[0].from, 0);
});

test("however unlike what was and what is to come are, both can be seen", () => {
  for (const [now, to] of [[1, 1e6], [1e6, 1e6 + 1], [50, 100]]) {
    const place = scale({ from: 0, to, now, end: to });
    assert.equal(place(0), 0);
    assert.equal(place(to), 1);
    assert.ok(place(now) >= 0.25 && place(now) <= 0.75);
  }
  assert.equal(scale({ from: 0, to: 40, now: 40, end: 40 })(40), 1);
});
