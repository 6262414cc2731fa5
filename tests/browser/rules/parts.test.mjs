/** The parts of the browser client that are told everything: each rule by itself. */

import assert from "node:assert/strict";
import test from "node:test";

import { connect, MemoryStorage } from "../../../squire_gatherings/browser/index.js";
import { Backoff } from "../../../squire_gatherings/browser/backoff.js";
import { ChangeQueue } from "../../../squire_gatherings/browser/changes.js";
import { GatheringError, Lost } from "../../../squire_gatherings/browser/errors.js";
import { Fifo } from "../../../squire_gatherings/browser/fifo.js";
import { decode } from "../../../squire_gatherings/browser/incoming.js";
import { Outbox } from "../../../squire_gatherings/browser/outbox.js";
import { Pace } from "../../../squire_gatherings/browser/pace.js";
import { Presence, stateText } from "../../../squire_gatherings/browser/presence.js";
import { urlOf } from "../../../squire_gatherings/browser/protocol.js";
import { Queue } from "../../../squire_gatherings/browser/queue.js";
import { Renewal } from "../../../squire_gatherings/browser/renewal.js";
import { Runs } from "../../../squire_gatherings/browser/runs.js";
import { ServerClock } from "../../../squire_gatherings/browser/serverclock.js";
import { runsOf, syncOfEach } from "../../../squire_gatherings/browser/syncs.js";
import { Tokens } from "../../../squire_gatherings/browser/tokens.js";
import { makeRandom } from "./server.mjs";

test("runs are a set, however they are put together", () => {
  const random = makeRandom(7);
  for (let round = 0; round < 200; round++) {
    const [runs, set] = [new Runs(), new Set()];
    let dropped = 0;
    for (let step = 0; step < 30; step++) {
      if (random() < 0.2) {
        const to = Math.floor(random() * 40);
        runs.dropTo(to);
        dropped = Math.max(dropped, to);
      } else {
        const start = Math.max(dropped + 1, Math.floor(random() * 60));
        const stop = start + Math.floor(random() * 5);
        runs.add(start, stop);
        for (let seq = start; seq < stop; seq++) set.add(seq);
      }
      for (let seq = dropped + 1; seq < 70; seq++) assert.equal(runs.has(seq), set.has(seq));
      const pairs = [...runs];
      pairs.forEach(([start, stop], index) => {
        assert(start < stop && (index === 0 || pairs[index - 1][1] < start));
      });
    }
  }
});

test("a fifo is a list", () => {
  const random = makeRandom(3);
  const [fifo, list] = [new Fifo(), []];
  for (let step = 0; step < 20_000; step++) {
    if (random() < 0.6) fifo.push(step), list.push(step);
    else if (random() < 0.01) fifo.putFirst([step, -step]), list.unshift(step, -step);
    else assert.equal(fifo.shift(), list.shift());
    assert.deepEqual([fifo.length, fifo.first, fifo.last], [list.length, list[0], list.at(-1)]);
  }
});

test("pauses grow, and each is a part of the longest", () => {
  const backoff = new Backoff(100, 1000, () => 0.5);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [50, 100, 200, 400, 500, 500]);
  backoff.reset();
  assert.equal(backoff.next(), 50);
});

test("the pace is slower after a refusal, once for all that were under way, and recovers", () => {
  const pace = new Pace(1000, 500);
  pace.slower(0);
  pace.slower(100);
  assert.deepEqual([pace.interval, pace.nextAt], [125, 125]);
  pace.slower(600);
  assert.equal(pace.interval, 250);
  pace.sent(900);
  assert.equal(pace.nextAt, 1150);
  for (let count = 0; count < 100; count++) pace.answered();
  assert.equal(pace.interval, 0);
});

test("the queue repeats, holds, and finds out which one is meant", () => {
  const queue = new Queue(new Pace(1000, 500), 500);
  const pop = (now) => {
    const id = queue.pop(now);
    if (id !== null) queue.went(id, now);
    return id;
  };
  queue.put(["a", "b", "c"]);
  assert.deepEqual([pop(0), pop(0), pop(0), pop(0)], ["a", "b", "c", null]);
  queue.repeat(["b"], 0);
  assert.deepEqual([pop(499), queue.nextAt, pop(500)], [null, 500, "b"]);
  queue.suspect(["a", "b", "c"], 1000);
  assert.deepEqual([pop(1500), pop(1500)], ["a", null], "one at a time");
  queue.done("a");
  queue.hold(["c"], 1500);
  assert.deepEqual([pop(9000), queue.nextAt], [null, Infinity]);
  queue.goOn(9000);
  assert.equal(pop(9000), "c", "what couldn't be taken goes first");
  queue.done("c");
  assert.equal(pop(9000), "b");
});

test("the change queue keeps as much as it may, and has the rest fetched", () => {
  const told = [];
  const queue = new ChangeQueue(450, (change) => told.push(change.seq));
  queue.begin(0, 0);
  const change = (seq) => ({ seq, by: "bob", op: { n: seq }, time: 0, mine: false });
  for (let seq = 1; seq <= 6; seq++) {
    if (seq === 4) queue.passOver(4, 5);
    else queue.add(change(seq), 10);
  }
  const dispersed = { reason: "idle", seq: 6, idleFor: 1 };
  queue.end(dispersed);
  assert.deepEqual(told, [1, 2, 3, 5, 6]);
  const seqs = [];
  let taken = queue.take();
  while (taken && "change" in taken) {
    seqs.push(taken.change.seq);
    taken = queue.take();
  }
  const { missing } = taken;
  assert.equal(missing, seqs.at(-1));
  const rest = [missing + 1, missing + 2, missing + 3, missing + 4];
  queue.refill(missing + 1, rest.map((n) => ({ n })), rest.map(() => "bob"));
  for (taken = queue.take(); "change" in taken; taken = queue.take()) seqs.push(taken.change.seq);
  assert.deepEqual([seqs, taken], [[1, 2, 3, 5, 6], { dispersed }]);
  assert.equal(queue.take(), null);
  const why = new GatheringError("log_replaced", "another log");
  queue.add(change(7), 10);
  queue.startOver(why);
  assert.deepEqual([queue.take(), queue.take()], [{ replaced: why }, null]);
});

const JOINED = {
  type: "joined", gathering: "room", incarnation: "i", seq: 1, role: "member", user: null,
  idle_timeout: 1, expires_in: null, ops: [{}], by: [null],
};
const PRESENCE = {
  type: "presence", version: 3, count: 2, anonymous: 0,
  users: [{ user: "a", connections: 1, state: {} }],
};
const GOOD = [
  JOINED,
  { ...JOINED, first_seq: 1, times: [0], proof: { seq: 1, head: "ab" }, ends_in: -1, epoch: "" },
  { ...JOINED, ops: undefined, by: undefined, snapshot: null },
  { type: "forward", seq: 3, by: "a", op: { n: 1 }, time: 5, sync: [2, 4, "s"] },
  { type: "forward", seq: 3, by: ["a", null], ops: [{}, {}], times: [1, 1] },
  { type: "forward", seq: 3, by: ["a", null], ops: [{}, {}], syncs: [[3, 1, "s"], [4, 9, "s"]] },
  PRESENCE,
  { ...PRESENCE, version: 4, since: 3, gone: ["b"], users: [] },
  { type: "synced", id: "x", seqs: [4, 5], ops: [{}, {}], time: 9 },
  { type: "conflict", id: "x", seq: 4, ops: [], by: [] },
  { type: "error", code: "full", message: "" },
  { type: "ending", rule: "idle", expires_in: null, at_time: null },
  { type: "dispersed", gathering: "room", reason: "idle", seq: 0, idle_for: 0, incarnation: "i" },
  { type: "renew", rights_expire_in: 1 },
  { type: "refreshed", role: "judge", id: "x", rights_expire_in: 0 },
];

test("what a server may say is understood, and what it can't mean is lost", () => {
  for (const message of GOOD) {
    const understood = decode(JSON.stringify(message));
    assert.equal(understood.type, message.type);
    if (message.op) assert.deepEqual([understood.ops, understood.times], [[{ n: 1 }], [5]]);
    // Any field with something else in it is nonsense, or is one that may be anything.
    for (const name of Object.keys(message)) {
      for (const value of [null, -1, 1.5, "", "\u0000".repeat(2000), [], [[]], {}, true, [1, 3], 2 ** 60]) {
        const changed = JSON.stringify({ ...message, [name]: value });
        try {
          const result = decode(changed);
          assert(result === null || typeof result.type === "string");
        } catch (error) {
          assert(error instanceof Lost, `${changed}: ${error}`);
        }
      }
    }
  }
  assert.equal(decode('{"type": "of a later version"}'), null);
  assert.equal(decode('{"type": "toString"}'), null);
  for (const text of ["", "1", "[]", "null", '{"a": 1}', '{"type": 1}', undefined, new Blob([])]) {
    assert.throws(() => decode(text), Lost);
  }
  const nonsense = [
    { ...JOINED, ops: [1] },
    { ...JOINED, by: [] },
    { ...JOINED, snapshot: 1 },
    { ...JOINED, seq: 0 },
    { type: "forward", seq: 0, by: null, op: {} },
    { type: "forward", seq: 1, by: null, op: {}, ops: [{}] },
    { type: "synced", id: "x", seqs: [4, 6] },
    { type: "synced", id: "x", seqs: [0] },
    { type: "forward", seq: 3, by: ["a", null], ops: [{}, {}], times: [2, 1] },
    { type: "forward", seq: 3, by: ["a", null], ops: [{}, {}], syncs: [[3, 2, "s"], [4, 1, "t"]] },
    { type: "forward", seq: 3, by: "a", op: {}, sync: [3, 0, "s"] },
    { type: "forward", seq: 3, by: "a", op: {}, sync: [3, 1, ""] },
    { type: "forward", seq: 3, by: "a", op: {}, sync: [3, 1] },
    { ...PRESENCE, version: 0 },
    { ...PRESENCE, since: 3 },
    { ...PRESENCE, gone: ["b"] },
    { ...PRESENCE, count: -1 },
    { ...PRESENCE, users: [...PRESENCE.users, ...PRESENCE.users] },
    { ...PRESENCE, users: [{ user: "", connections: 1, state: {} }] },
    { ...PRESENCE, users: [{ user: "a", connections: 0, state: {} }] },
    { ...PRESENCE, users: [{ user: "a", connections: 1, state: [] }] },
  ];
  for (const message of nonsense) assert.throws(() => decode(JSON.stringify(message)), Lost);
});

test("of many states of presence the newest goes out, and not too often", () => {
  const refused = [];
  const presence = new Presence(null, 250, (error) => refused.push(error.code));
  assert.deepEqual([presence.wish(), presence.nextAt, presence.next(0)], [{}, Infinity, null]);
  presence.joined(0);
  for (let n = 1; n < 5; n++) presence.say(stateText({ n }), "a");
  assert.deepEqual([presence.nextAt, presence.next(249)], [250, null]);
  const said = JSON.parse(presence.next(250));
  assert.deepEqual([said.type, said.state, presence.next(9000)], ["presence", { n: 4 }, null]);
  // It comes again after a while, if it was too fast; and never, if it can't be.
  assert.equal(presence.failed({ type: "error", code: "rate_limited", message: "", id: said.id }, 300), true);
  assert.equal(presence.nextAt, 300 + 8 * 250);
  const again = JSON.parse(presence.next(3000));
  assert.deepEqual(again.state, { n: 4 });
  assert.equal(presence.failed({ type: "error", code: "too_big", message: "", id: again.id }, 3000), true);
  assert.equal(presence.failed({ type: "error", code: "too_big", message: "", id: "x" }, 3000), false);
  assert.deepEqual([presence.nextAt, refused], [Infinity, ["too_big"]]);
  // What is said while a join is under way isn't in it.
  presence.lost();
  assert.deepEqual(presence.wish(), { presence: { n: 4 } });
  presence.say(stateText({ n: 5 }), "a");
  presence.joined(4000);
  assert.deepEqual(JSON.parse(presence.next(4250)).state, { n: 5 });
  for (const wrong of [1, null, "a", [1], undefined, () => 1, 1n]) {
    assert.throws(() => stateText(wrong), { code: "bad_message" });
  }
});

test("what is told of who is here is put together", () => {
  const presence = new Presence("{}", 250, () => {});
  const user = (name, n = 0, connections = 1) => ({ user: name, connections, state: { n } });
  const told = { type: "presence", version: 4, count: 9, anonymous: 2 };
  assert.throws(() => presence.take({ ...told, users: [], since: 3 }), Lost);
  presence.take({ ...told, users: [user("a"), user("b"), user("__proto__")] });
  const more = { users: [user("b", 1, 2), user("c")], gone: ["a"], since: 4 };
  presence.take({ ...told, version: 5, ...more });
  const users = [user("b", 1, 2), user("__proto__"), user("c")];
  assert.deepEqual(presence.view, { users, count: 9, anonymous: 2 });
  assert.throws(() => presence.take({ ...told, version: 7, users: [], since: 6 }), Lost);
  assert.throws(() => presence.take({ ...told, version: 6, count: 1, users }), Lost);
  // Another window of ours has said something else since: it is said over.
  presence.joined(0);
  presence.say(stateText({ n: 7 }), "b");
  presence.next(1000);
  presence.say(stateText({ n: 7 }), "b");
  assert.equal(presence.nextAt, 1250);
  presence.lost();
  assert.equal(presence.view, null);
});

test("ops know what they were submitted in", () => {
  const runs = [[2, 3, "x"], [6, 9, "y"]];
  const syncs = syncOfEach(4, 4, runs);
  assert.deepEqual(syncs.map((one) => one && [one.first, one.count, one.id]),
    [[2, 3, "x"], null, [6, 9, "y"], [6, 9, "y"]]);
  assert.deepEqual(runsOf(syncs), runs);
  assert.deepEqual(syncOfEach(1, 2, undefined), [null, null]);
});

test("rights are renewed when the server asks, or they end, and not all the time", () => {
  const renewal = new Renewal(new Backoff(100, 1000, () => 1));
  renewal.begin(60, 0);
  assert.deepEqual([renewal.nextAt, renewal.due(59_000)], [60_000, null]);
  renewal.want();
  assert.deepEqual([renewal.due(30_000), renewal.due(30_000)], ["renew", null]);
  renewal.token("t", 30_000);
  const request = JSON.parse(renewal.next());
  assert.deepEqual([request.type, request.token, renewal.next()], ["refresh", "t", null]);
  assert.equal(renewal.failed({ type: "error", code: "full", message: "", id: request.id }, 30_000), true);
  assert.deepEqual([renewal.nextAt, renewal.due(30_100)], [30_100, "renew"]);
  renewal.token("u", 30_100);
  const { id } = JSON.parse(renewal.next());
  renewal.told({ type: "refreshed", role: "member", id, rights_expire_in: 60 }, 31_000);
  renewal.want();
  assert.equal(renewal.nextAt, 32_000);
  // No token: the program isn't asked again until they end, then once.
  assert.equal(renewal.due(32_000), "renew");
  renewal.token(null, 32_000);
  assert.deepEqual([renewal.nextAt, renewal.due(91_000)], [91_000, "expired"]);
  renewal.token(null, 91_000);
  assert.equal(renewal.nextAt, Infinity);
  assert.equal(renewal.failed({ type: "error", code: "full", message: "", id: "other" }, 0), false);
});

test("what isn't answered is kept in order, and a storage that fails is told", async () => {
  const warnings = [];
  const storage = new MemoryStorage();
  let time = 5;
  const parts = { storage, room: "r", client: null, wallTime: () => time, warn: (e) => warnings.push(e) };
  const outbox = new Outbox({ ...parts, tab: "a" });
  assert.deepEqual(await outbox.load(), []);
  const first = outbox.make("x", 1, '[{"n":1}]', "alice");
  time = 1; // The clock is set back.
  const second = outbox.make("y", 1, '[{"n":2}]', undefined);
  for (const one of [second, first]) outbox.put(one);
  const again = new Outbox({ ...parts, tab: "b" });
  const loaded = await again.load();
  assert.deepEqual(loaded.map(({ id, mine, inDoubt }) => [id, mine, inDoubt]),
    [["x", false, true], ["y", false, true]]);
  assert.equal(again.client, outbox.client);
  assert.deepEqual(loaded[0].ops, [{ n: 1 }]);
  again.drop(first);
  assert.equal((await outbox.load()).length, 1);
  const fails = async () => { throw new Error("full"); };
  const bad = new Outbox({ ...parts, tab: "c", storage: { load: fails, put: fails, drop: fails, keepClient: fails } });
  assert.deepEqual(await bad.load(), []);
  bad.put(first);
  await bad.written();
  assert.equal(warnings.length, 2);
});

test("a gathering's URL is made of the server's", () => {
  const cases = [
    ["wss://h", "wss://h/gatherings/a~b"],
    ["https://h:1/x/", "wss://h:1/x/gatherings/a~b"],
    ["ws://h/live/{gathering}/s?r={gathering}", "ws://h/live/a~b/s?r=a~b"],
    ["ws://h?x=1", null],
    ["ws://u:p@h", null],
    ["ws://h#f", null],
    ["ftp://h", null],
    ["h", null],
  ];
  for (const [server, url] of cases) assert.equal(urlOf(server, "a~b"), url);
});

test("arguments that can't be right are refused without their value", () => {
  const wrong = [
    ["nonsense", "a"],
    ["ws://h", "no/id"],
    ["ws://h", "a", { inital: 1 }],
    ["ws://h", "a", { client: "short" }],
    ["ws://h", "a", { since: -1 }],
    ["ws://h", "a", { maxPause: "1s" }],
    ["ws://h", "a", { token: 5 }],
    ["ws://h", "a", { fold: 5 }],
  ];
  for (const [server, id, options] of wrong) {
    const error = (() => {
      try {
        connect(server, id, { WebSocket: class {}, ...options });
      } catch (thrown) {
        return thrown;
      }
    })();
    assert.equal(error?.code, "bad_setting", JSON.stringify([server, id, options]));
  }
});

test("a token is asked for, and what can't be one is refused without it", async () => {
  const asked = [];
  const tokens = new Tokens(async (why) => (asked.push(why), "t"));
  assert.deepEqual([await tokens.ask("join"), await tokens.ask("expired")], ["t", "t"]);
  assert.deepEqual([asked, tokens.renews, new Tokens("x").renews], [["join", "expired"], true, false]);
  await assert.rejects(new Tokens(() => "s".repeat(9000)).ask("join"), (error) => {
    return error.code === "bad_setting" && !error.message.includes("sss");
  });
});

test("the server's clock is one's own until the server says otherwise", () => {
  let steady = 1000;
  let wall = 5_000_000;
  const clock = new ServerClock(() => wall + steady, () => steady);
  assert.equal(clock.now(), 5_001_000);
  const hour = 3_600_000;
  for (const off of [-hour, hour]) {
    const server = () => wall + off + steady;
    const submitted = steady;
    steady += 40;
    const time = server();
    steady += 20;
    clock.answered(time, submitted);
    assert.ok(Math.abs(clock.now() - server()) <= 61, `${clock.now() - server()}`);
    // Somebody sets ours.
    wall += 7 * hour;
    assert.ok(Math.abs(clock.now() - (server() - 7 * hour)) <= 61);
    wall -= 7 * hour;
  }
});

test("what comes shows how late it is at least", () => {
  let steady = 0;
  const clock = new ServerClock(() => 1000 + steady, () => steady);
  clock.heard(9000);
  assert.equal(clock.now(), 9000);
  clock.heard(5);
  steady = 10;
  assert.equal(clock.now(), 9010);
});
