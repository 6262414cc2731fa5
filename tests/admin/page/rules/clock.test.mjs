import assert from "node:assert/strict";
import test from "node:test";

import { Clock } from "../../../../squire_gatherings/_admin/page/static/clock.mjs";

test("what is pushed came later than it was said", () => {
  let local = 100;
  const clock = new Clock(() => local);
  assert.equal(clock.isKnown, false);
  clock.pushed(1000); // Said a quarter of a second before.
  local = 101;
  clock.pushed(1001.25);
  assert.equal(clock.now(), 1001.25);
  local = 102;
  clock.pushed(1001.5); // Held up on its way.
  assert.equal(clock.now(), 1002.25);
});

test("what is answered lies between the question and the answer", () => {
  let local = 10;
  const clock = new Clock(() => local);
  clock.pushed(509);
  local = 10.4;
  clock.answered(510.3, 10);
  // It's at least 499.9 and at most 500.3 ahead.
  assert.ok(Math.abs(clock.now() - 510.5) < 1e-9);
});

test("between two words it goes on by itself, however long nobody looks", () => {
  let local = 0;
  const clock = new Clock(() => local);
  clock.answered(50, 0);
  local = 3600;
  assert.equal(clock.now(), 3650);
});

test("a clock that stood still is set anew at once", () => {
  let local = 0;
  const clock = new Clock(() => local);
  clock.answered(50, 0);
  // The machine slept: an hour passed for the server, and two seconds here.
  local = 2;
  clock.answered(3650, 1.99);
  assert.ok(Math.abs(clock.now() - 3650) < 0.01);
  // A server that was started anew has a clock of its own.
  local = 3;
  clock.answered(7, 2.99);
  assert.ok(Math.abs(clock.now() - 7) < 0.01);
});

test("the time of day is that of the server", () => {
  const clock = new Clock(() => 0);
  assert.equal(clock.timeOfDay(5), null);
  clock.saw(100, 1_795_839_471);
  assert.equal(clock.timeOfDay(160), 1_795_839_531);
});
