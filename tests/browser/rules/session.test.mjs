/** A room's life, exactly: what it does when, by a clock that is told to go on. */

import assert from "node:assert/strict";
import test from "node:test";

import { GatheringError } from "../../../squire_gatherings/browser/index.js";
import { Clock, Server } from "./server.mjs";
import { Browser } from "./world.mjs";

const FOLD = { initial: [], fold: (state, op) => [...state, op.n] };

/** One server, whose messages take no time, and a tab. */
async function begin(options = {}, { ackDelay } = {}) {
  const clock = new Clock();
  const server = new Server(clock, () => 0);
  server.ackDelay = ackDelay;
  const heard = [];
  const { hear } = server;
  server.hear = function (connection, message) {
    heard.push({ at: clock.now, ...message });
    return hear.call(this, connection, message);
  };
  const browser = new Browser(server, clock, () => 0.5);
  const tab = browser.tab({ behaviour: FOLD, goTogether: false, ...options });
  const events = [];
  for (const type of ["status", "dispersed", "ending", "refused", "closed", "warning", "change"]) {
    tab.room.addEventListener(type, ({ detail }) => events.push([type, detail]));
  }
  await clock.pass(100);
  return { clock, server, browser, heard, events, ...tab };
}

const of = (heard, type) => heard.filter((message) => message.type === type);

test("acknowledgements wait for more, but where nobody looks there's no timer", async () => {
  const { clock, server, browser, heard, page, room } = await begin();
  const other = browser.tab({ goTogether: false });
  await clock.pass(100);
  const began = clock.now;
  await Promise.all([other.room.submit({ n: 1 }), other.room.submit({ n: 2 }), clock.pass(99)]);
  assert.deepEqual(of(heard, "ack"), []);
  await clock.pass(1);
  assert.deepEqual(of(heard, "ack"), [{ at: began + 100, type: "ack", seq: 2 }]);
  other.room.submit({ n: 3 });
  await clock.pass(10);
  // It is hidden while one waits, and then at once.
  page.visible = false;
  page.handlers.hidden();
  await clock.pass(0);
  assert.equal(of(heard, "ack").at(-1).seq, 3);
  const timers = clock.timers.size;
  other.room.submit({ n: 4 });
  await clock.pass(0);
  assert.equal(of(heard, "ack").at(-1).seq, 4);
  assert.equal(clock.timers.size, timers);
  assert.deepEqual([room.state, server.errors], [[1, 2, 3, 4], []]);
});

test("acknowledgements wait as long as the server asks", async () => {
  for (const [ackDelay, waits] of [[0.5, 500], [0.05, 100]]) {
    const { clock, browser, heard } = await begin({}, { ackDelay });
    const other = browser.tab({ goTogether: false });
    await clock.pass(100);
    const began = clock.now;
    await Promise.all([other.room.submit({ n: 1 }), clock.pass(waits)]);
    assert.deepEqual(of(heard, "ack"), [{ at: began + waits, type: "ack", seq: 1 }]);
  }
});

test("a visible page asks after a silence whether the server is there, a hidden one doesn't", async () => {
  const { clock, server, heard, page, room } = await begin();
  await clock.pass(19_000);
  assert.deepEqual(of(heard, "ping"), []);
  await clock.pass(1_000);
  assert.equal(of(heard, "ping").length, 1);
  page.visible = false;
  await clock.pass(100_000);
  assert(of(heard, "ping").length <= 2);
  // It is seen again: an open connection is tried. Nothing comes, so it is lost.
  const [connection] = server.connections;
  connection.say = () => {};
  page.visible = true;
  page.handlers.visible();
  await clock.pass(9_999);
  assert.equal(room.status, "open");
  await clock.pass(200);
  assert.equal(room.status, "open");
  assert.equal(of(heard, "join").length, 2);
  assert.equal(of(heard, "join")[1].resume, "i1", "it came back by itself");
});

test("pauses grow, and end at once when there's a network again", async () => {
  const { clock, server, page, room } = await begin();
  server.kill();
  await clock.pass(60_000);
  assert.equal(room.status, "pausing");
  server.isUp = true;
  page.handlers.online();
  await clock.pass(1);
  assert.equal(room.status, "open");
});

test("a timer that fires late blames nobody", async () => {
  const { clock, server, room } = await begin();
  server.isUp = false;
  const [connection] = server.connections;
  connection.say = () => {};
  await clock.pass(20_000); // It asks.
  clock.now += 3_600_000; // The machine sleeps.
  delete connection.say;
  const said = JSON.stringify({ type: "error", code: "unknown_type", message: "" });
  await clock.pass(0);
  assert.equal(room.status, "open");
  connection.onmessage({ data: said });
  await clock.pass(5_000);
  assert.equal(room.status, "open");
});

test("an outage that lasts longer than the patience ends it, and everything that waits", async () => {
  const { clock, server, events, room } = await begin({ settings: { patience: 5000 } });
  server.kill();
  const submit = room.submit({ n: 1 }).catch((error) => error);
  const changes = room.changes().next().catch((error) => error);
  await clock.pass(4_900);
  assert.notEqual(room.status, "closed");
  await clock.pass(200);
  assert.equal(room.status, "closed");
  assert.deepEqual([(await submit).code, (await changes).code], ["cannot_connect", "cannot_connect"]);
  assert.equal(events.at(-1)[0], "closed");
  assert.equal(clock.timers.size, 0, "nothing is left");
  await assert.rejects(room.reopen(), { code: "cannot_connect" });
});

test("a dispersal is an ending: it sleeps until somebody wants something", async () => {
  const { clock, server, events, heard, room } = await begin();
  await Promise.all([room.submit({ n: 1 }), clock.pass(10)]);
  const loop = room.changes().next();
  server.disperse("idle");
  await clock.pass(1_000_000);
  assert.deepEqual([room.status, room.dispersed.reason, room.expiresIn], ["asleep", "idle", null]);
  assert.deepEqual([(await loop).done, of(heard, "join").length], [true, 1]);
  assert.equal(events.filter(([type]) => type === "dispersed").length, 1);
  assert.equal(clock.timers.size, 0);
  await Promise.all([room.reopen(), clock.pass(10)]);
  assert.deepEqual([room.status, room.dispersed, room.seq], ["open", null, 1]);
  assert.equal(of(heard, "join").at(-1).resume, undefined, "it is wanted");
  // A crash is a pause.
  server.disperse("crashed");
  await clock.pass(1_000);
  assert.equal(room.status, "open");
  // It ended while the connection was away, and nobody has woken it.
  server.kill();
  server.ends.set("i3", "empty");
  server.isUp = true;
  await clock.pass(1_000);
  assert.deepEqual([room.status, room.dispersed.reason], ["asleep", "empty"]);
});

test("another client with the same id ends it, and it doesn't fight back", async () => {
  const client = "0123456789abcdef";
  const { clock, browser, heard, room } = await begin({ client });
  const other = browser.tab({ goTogether: false, client });
  await clock.pass(100_000);
  assert.deepEqual([room.failure?.code, other.room.status], ["replaced", "open"]);
  assert.equal(of(heard, "join").length, 2);
  await assert.rejects(room.submit({ n: 1 }), { code: "replaced" });
});

test("a token is asked for on each connection; what it throws is a pause, or the end", async () => {
  let give = () => "alice";
  const asked = [];
  const token = (why) => (asked.push(why), give());
  const { clock, server, room } = await begin({ token });
  assert.deepEqual([room.user, asked], ["alice", ["join"]]);
  give = () => {
    throw new Error("no network");
  };
  server.kill();
  server.isUp = true;
  await clock.pass(1_000);
  assert.deepEqual([room.status, room.trouble], ["pausing", "there is no token: Error: no network"]);
  give = () => new Promise(() => {});
  await clock.pass(60_000);
  assert.match(room.trouble, /in time/, "one that never comes isn't waited for");
  give = () => {
    throw new GatheringError("unauthorized", "logged out");
  };
  await clock.pass(400_000);
  assert.deepEqual([room.status, room.failure.code], ["closed", "unauthorized"]);
});

test("a tab that follows goes through the one that leads, has it hurry, and takes over", async () => {
  const { clock, server, browser, heard, ...one } = await begin({ goTogether: true });
  const two = browser.tab({ behaviour: FOLD });
  await Promise.all([two.room.submit({ n: 1 }), clock.pass(100)]);
  assert.deepEqual([one.room.leads, two.room.leads, server.connections.size], [true, false, 1]);
  assert.deepEqual([one.room.state, two.room.state], [[1], [1]]);
  server.kill();
  await clock.pass(60_000);
  assert.deepEqual([one.room.status, two.room.status], ["pausing", "pausing"]);
  server.isUp = true;
  two.page.handlers.online();
  await clock.pass(10);
  assert.deepEqual([one.room.status, two.room.status], ["open", "open"]);
  const [{ client }] = of(heard, "join");
  const sent = two.room.submit({ n: 2 });
  one.page.handlers.suspend();
  await Promise.all([sent, clock.pass(100)]);
  assert.deepEqual([two.room.leads, two.room.state], [true, [1, 2]]);
  assert.equal(of(heard, "join").at(-1).client, client, "it is the same client to the server");
  // The page comes back out of the cache, and follows.
  one.page.handlers.resume();
  await clock.pass(100);
  assert.deepEqual([one.room.leads, one.room.status, one.room.state], [false, "open", [1, 2]]);
});

test("a tab that leads and hears nothing any more is passed over", async () => {
  const { clock, server, browser, ...one } = await begin({ goTogether: true });
  const two = browser.tab({ behaviour: FOLD });
  await Promise.all([two.room.submit({ n: 1 }), clock.pass(100)]);
  one.page.hangs = true;
  const sent = two.room.submit({ n: 2 });
  // It is asked whether it's there, and then for a new connection, and says nothing to either.
  await Promise.all([sent, clock.pass(60_000)]);
  assert.deepEqual([two.room.leads, two.room.state], [true, [1, 2]]);
  one.page.hangs = false;
  one.page.handlers.visible();
  await Promise.all([one.room.submit({ n: 3 }), clock.pass(60_000)]);
  assert.deepEqual([one.room.leads, one.room.state, two.room.state], [false, [1, 2, 3], [1, 2, 3]]);
  assert.equal(server.connections.size, 1);
});

test("a submit can be given up: unsent it isn't applied, sent it may be", async () => {
  const { clock, server, room } = await begin();
  const [first, second] = [new AbortController(), new AbortController()];
  const sent = room.submit({ n: 1 }, { signal: first.signal }).catch((error) => error.name);
  first.abort();
  server.kill();
  await clock.pass(0);
  const unsent = room.submit({ n: 2 }, { signal: second.signal }).catch((error) => error.name);
  second.abort();
  server.isUp = true;
  await clock.pass(10_000);
  assert.deepEqual([await sent, await unsent], ["AbortError", "AbortError"]);
  assert.deepEqual([room.pending, server.log.map(({ op }) => op.n)], [[], [1]]);
  assert.deepEqual(room.state, [1]);
});

test("a submit with the same id is applied once and answered again", async () => {
  const { clock, server, room } = await begin();
  const one = room.submit([{ n: 1 }, { n: 2 }], { id: "x" });
  await assert.rejects(room.submit({ n: 3 }, { id: "x" }), { code: "bad_message" });
  await clock.pass(10);
  const again = room.submit([{ n: 1 }, { n: 2 }], { id: "x" });
  await clock.pass(10);
  assert.deepEqual([await one, await again, server.log.length], [[1, 2], [1, 2], 2]);
});

test("what isn't an op is refused at once, and a refusal that nobody waits for is told", async () => {
  const { clock, server, events, room } = await begin();
  const round = {};
  round.round = round;
  for (const ops of [[], null, 5, "x", [[]], undefined, round, () => {}, { n: 1n }]) {
    await assert.rejects(room.submit(ops), { code: "bad_message" });
  }
  server.moods.push("rejected");
  room.submit({ n: 1 });
  assert.deepEqual(room.state, [1], "it is shown");
  await clock.pass(10);
  assert.deepEqual(room.state, []);
  const [[, { ops, error }]] = events.filter(([type]) => type === "refused");
  assert.deepEqual([ops, error.code], [[{ n: 1 }], "rejected"]);
});

test("a fold that throws ends it, and says so", async () => {
  const fold = (state, op) => {
    if (op.n === 2) throw new TypeError("not two");
    return state + op.n;
  };
  const { clock, room } = await begin({ behaviour: { initial: 0, fold } });
  await Promise.all([room.submit({ n: 1 }), clock.pass(10)]);
  room.submit({ n: 2 });
  assert.equal(room.state, 1, "it is left out of what is shown");
  await clock.pass(10);
  assert.deepEqual([room.failure.code, room.failure.cause.name], ["behaviour", "TypeError"]);
});

test("goodbye: everything that waits is told, and nothing is left", async () => {
  const { clock, server, heard, room } = await begin();
  const loop = room.changes().next();
  server.moods.push("unavailable");
  const submit = room.submit({ n: 1 }).catch((error) => error.code);
  await clock.pass(10);
  const closing = Promise.all([room.close(), room.close(), clock.pass(100)]);
  assert.equal(room.status, "closing");
  await closing;
  assert.deepEqual([await submit, (await loop).done, room.status], ["left", true, "closed"]);
  assert.equal(of(heard, "leave").length, 1);
  assert.deepEqual([clock.timers.size, server.connections.size], [0, 0]);
});

test("what one user has left isn't sent as another", async () => {
  const { clock, server, browser, ...alice } = await begin({ token: "alice", goTogether: true });
  server.kill();
  alice.room.submit({ n: 1 });
  await clock.pass(10);
  alice.page.handlers.suspend();
  server.isUp = true;
  const bob = browser.tab({ behaviour: FOLD, token: "bob" });
  await clock.pass(1_000);
  assert.deepEqual([bob.room.user, bob.room.pending, server.log], ["bob", [], []]);
  bob.room.close();
  await clock.pass(10);
  const again = browser.tab({ behaviour: FOLD, token: "alice" });
  await clock.pass(1_000);
  assert.deepEqual([again.room.state, server.log.map(({ by }) => by)], [[1], ["alice"]]);
});
