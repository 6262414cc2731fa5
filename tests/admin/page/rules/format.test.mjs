import assert from "node:assert/strict";
import test from "node:test";

import * as format from "../../../../squire_gatherings/_admin/page/static/format.mjs";

test("a countdown shows zero from the end on, and never before", () => {
  const said = [
    [0, "0.0 s"],
    [-3, "0.0 s"],
    [0.0005, "0.1 s"],
    [0.1, "0.1 s"],
    [9.91, "10.0 s"],
    [10.1, "11 s"],
    [59, "59 s"],
    [59.5, "1:00"],
    [3599.2, "1:00:00"],
    [725, "12:05"],
    [86_399.4, "24:00:00"],
    [172_800, "2 d 00:00"],
    [1e7, "115 d 17:46"],
    [null, "never"],
  ];
  for (const [seconds, text] of said) assert.equal(format.countdown(seconds), text);
  assert.equal(format.countdown(0.3, false), "1 s");
  assert.equal(format.countdown(0, false), "0 s");
});

test("durations have no more figures than anybody reads", () => {
  const said = [
    [0, "0 s"],
    [0.25, "250 ms"],
    [32, "32 s"],
    [95, "1 min 35 s"],
    [3000, "50 min"],
    [3600, "1 h"],
    [5400, "1 h 30 min"],
    [86_400, "24 h"],
    [266_400, "3 d 2 h"],
    [9e6, "104 d"],
    [null, "never"],
  ];
  for (const [seconds, text] of said) assert.equal(format.duration(seconds), text);
});

test("lateness, rates, ages and sizes fit into a column", () => {
  const lateness = [null, 0, 0.00004, 0.0042, 0.042, 0.42, 4.2, 42].map(format.lateness);
  assert.deepEqual(lateness, ["–", "0 µs", "40 µs", "4.2 ms", "42 ms", "420 ms", "4.2 s", "42 s"]);
  assert.deepEqual([0, 0.04, 0.3, 12.4, 31_234].map(format.rate), ["0", "0", "0.3", "12", "31,234"]);
  const ages = [-1, 59.9, 60, 7200, 172_800].map(format.age);
  assert.deepEqual(ages, ["0 s", "59 s", "1 min", "2 h", "2 d"]);
  assert.deepEqual([null, 12, 2048, 5e7].map(format.bytes), ["–", "12 B", "2.0 KiB", "48 MiB"]);
});

test("a time of another day has its day", () => {
  const now = Date.UTC(2026, 10, 28, 3) / 1000;
  assert.equal(format.timeOfDay(now + 61, now, "UTC"), "03:01:01");
  assert.equal(format.timeOfDay(now + 86_400, now, "UTC"), "2026-11-29 03:00:00");
  // Whose day it is depends on where the reader is.
  assert.equal(format.timeOfDay(now, now, "America/New_York"), "22:00:00");
});

test("every rule and every move has words, and one that is new has its name", () => {
  const rules = { idle_timeout: 86_400, alone_clients: 1, alone_timeout: 60, max_age: 3600 };
  assert.equal(format.ruleText("idle", rules), "no message for 24 h");
  assert.equal(format.ruleText("alone", rules), "at most 1 connected, no message, for 1 min");
  assert.equal(format.ruleText("full_moon", rules), "full moon");
  assert.equal(format.ruleName("unjoined"), "never joined");
  assert.equal(format.movedText({ what: "sync", by: "alice" }), "a message (sync), by alice");
  assert.equal(format.movedText({ what: "opened", by: null }), "its opening");
});

test("how near an end is", () => {
  const near = [null, 61, 60, 10, -1].map(format.nearness);
  assert.deepEqual(near, ["never", "later", "soon", "now", "now"]);
});

test("who is here is said where somebody is", () => {
  assert.equal(format.hereName({ users: 0, anonymous: 0 }), null);
  assert.equal(format.hereName({ users: 1, anonymous: 0 }), "Shown as being here: 1 user");
  const both = { users: 1200, anonymous: 3 };
  assert.equal(format.hereName(both), "Shown as being here: 1,200 users, 3 anonymous");
});
