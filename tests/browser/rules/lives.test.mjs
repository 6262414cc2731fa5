/**
 * Whole lives at random: tabs of two browsers, and a server that is cut off, killed, put to sleep,
 * and that refuses, repeats, and merges. In the end all have the same log, each op once.
 *
 * `EXAMPLES` says how many lives, `SEED` which one alone.
 */

import assert from "node:assert/strict";
import test from "node:test";

import { Clock, makeRandom, Server, settle } from "./server.mjs";
import { Browser } from "./world.mjs";

const REFUSALS = new Set(["rejected", "conflict", "forbidden", "left"]);

class Life {
  numbers = 0;
  tabs = [];
  /** What was answered: the seq of each op's number. */
  answered = new Map();
  refused = new Set();
  replaced = false;

  constructor(seed, replaces) {
    this.random = makeRandom(seed);
    this.replaces = replaces;
    this.clock = new Clock();
    this.server = new Server(this.clock, this.random, { rename: this.random() < 0.5 });
    this.server.repeats = this.random() < 0.5 ? 0.1 : 0;
    this.browsers = [1, 2].map(() => new Browser(this.server, this.clock, this.random));
    this.clients = this.random() < 0.3 ? ["0123456789abcdef-1", null] : [null, null];
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  openTab(browser = this.pick(this.browsers)) {
    const asks = this.random() < 0.7;
    const foldAll = { initial: [], fold: (state, op, { seq }) => [...state, `${seq}:${op.n}`] };
    const made = browser.tab({
      behaviour: this.random() < 0.8 ? foldAll : null,
      goTogether: this.random() < 0.8,
      optimistic: this.random() < 0.5,
      since: this.pick([0, null]),
      token: browser === this.browsers[0] ? "alice" : "bob",
      settings: { maxPause: 2000, maxChanges: this.pick([500, 10 ** 6]) },
      presence: asks ? { n: ++this.numbers } : undefined,
    });
    const tab = { ...made, asks, seen: [], own: new Map(), from: made.room.seq, isGone: false };
    this.tabs.push(tab);
    tab.reading = this.read(tab);
    return tab;
  }

  async read(tab) {
    while (!tab.isGone) {
      try {
        for await (const change of tab.room.changes()) {
          if (tab.isGone) return;
          tab.seen.push(change);
        }
        if (tab.room.status === "closed") return;
        assert(tab.room.dispersed || tab.isGone || this.server.connections.size >= 0);
        await new Promise((resolve) => this.clock.setTimer(resolve, 100));
      } catch (error) {
        if (error.code === "log_replaced") {
          tab.seen = [];
          tab.own.clear();
          tab.wasReplaced = true;
          continue;
        }
        tab.failure = error;
        return;
      }
    }
  }

  submit(tab, count) {
    const ops = Array.from({ length: count }, () => ({ n: ++this.numbers }));
    tab.room.submit(ops).then(
      (seqs) => {
        ops.forEach(({ n }, index) => {
          this.answered.set(n, seqs[index]);
          tab.own.set(seqs[index], n);
        });
      },
      (error) => {
        assert(REFUSALS.has(error.code), `${error.code}: ${error.message}`);
        if (error.code !== "left") for (const { n } of ops) this.refused.add(n);
      },
    );
  }

  /** The page goes away, as when it is reloaded, closed or crashes. */
  leave(tab, how) {
    tab.isGone = true;
    this.tabs.splice(this.tabs.indexOf(tab), 1);
    if (how === "close") tab.room.close();
    else tab.page.handlers?.suspend();
  }

  step() {
    const { server, clock } = this;
    const tab = this.pick(this.tabs);
    const away = () => {
      server.kill();
      clock.setTimer(() => (server.isUp = true), this.random() * 3000);
    };
    const steps = [
      [8, () => this.submit(tab, 1 + Math.floor(this.random() * 3))],
      [5, () => this.pick([...server.connections])?.cut()],
      [3, () => (tab.room.setPresence({ n: ++this.numbers }), (tab.asks = true))],
      [1, away],
      [1, () => server.disperse(this.pick(["idle", "empty", "max_age", "ends_at", "admin"]))],
      [1, () => server.disperse(this.pick(["crashed", "shutdown", "evicted", "moved"]))],
      [3, () => server.moods.push(this.pick(["unavailable", "limited", "rejected", "conflict"]))],
      [1, () => this.tabs.length < 6 && this.openTab()],
      [1, () => this.tabs.length > 1 && this.leave(tab, "close")],
      [1, () => (this.leave(tab, "reload"), this.openTab(tab.browser))],
      [1, () => {
        tab.page.handlers?.suspend();
        clock.setTimer(() => tab.page.handlers?.resume(), this.random() * 500);
      }],
      [1, () => tab.page.handlers?.online()],
      [1, () => ((tab.page.visible = !tab.page.visible), tab.page.handlers?.hidden())],
      [this.replaces ? 1 : 0, () => {
        this.replaced = true;
        server.restore(Math.floor(this.random() * (server.log.length + 1)));
      }],
    ];
    let left = this.random() * steps.reduce((sum, [weight]) => sum + weight, 0);
    const [, run] = steps.find(([weight]) => (left -= weight) < 0);
    run();
  }

  async run() {
    this.openTab();
    this.openTab();
    for (let count = 0; count < 60; count++) {
      this.step();
      await this.clock.pass(this.random() ** 3 * 500);
    }
    Object.assign(this.server, { moods: [], isUp: true });
    await this.clock.pass(10_000);
    for (const browser of this.browsers) {
      // Somebody is there who goes on with what was asked before.
      const tab = this.openTab(browser);
      if (!tab.room.leads && !this.tabs.some((one) => one.browser === browser)) this.openTab(browser);
    }
    for (const { room, page } of this.tabs) {
      page.handlers?.resume();
      page.visible = true;
      room.reopen().catch(() => {});
    }
    await this.clock.pass(30_000);
    for (const { room } of this.tabs) room.reopen().catch(() => {});
    await this.clock.pass(30_000);
    this.check();
    for (const tab of [...this.tabs]) this.leave(tab, "close");
    await this.clock.pass(10_000);
  }

  check() {
    const { log, errors } = this.server;
    assert.deepEqual(errors, []);
    const numbers = log.map(({ op }) => op.n);
    assert.equal(new Set(numbers).size, numbers.length, "each op once");
    const state = numbers.map((n, index) => `${index + 1}:${n}`);
    const present = [...this.server.present().values()].map((one) => JSON.stringify(one)).sort();
    for (const { room, seen, own, asks, failure, wasReplaced } of this.tabs) {
      assert.equal(failure, undefined);
      assert.equal(room.failure, null, room.failure?.message);
      assert.equal(room.status, "open", room.trouble ?? "");
      assert.deepEqual(room.pending, []);
      assert.equal(room.seq, log.length);
      if (room.state !== undefined) assert.deepEqual(room.state, state);
      if (asks) {
        assert.deepEqual(room.presence.users.map((one) => JSON.stringify(one)).sort(), present);
        assert.deepEqual([room.presence.count, room.presence.anonymous], [present.length, 0]);
      } else assert.equal(room.presence, null);
      if (!wasReplaced) {
        const seqs = seen.map(({ seq }) => seq);
        assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), "once and in order");
        for (const { seq, op, sync } of seen) {
          assert.equal(op.n, numbers[seq - 1]);
          if (!this.replaced) {
            assert.equal(sync.id, log[seq - 1].sync);
            assert(sync.first <= seq && seq < sync.first + sync.count);
            assert.equal(log[sync.first - 1].sync, sync.id);
          }
          assert(!own.has(seq), `its own op ${seq} came as somebody else's`);
        }
        if (seqs.length) {
          const first = seqs[0];
          const both = new Set([...seqs, ...own.keys()]);
          for (let seq = first; seq <= log.length; seq++) assert(both.has(seq), `op ${seq} is lacking`);
        }
      }
    }
    if (!this.replaced) {
      for (const [n, seq] of this.answered) assert.equal(numbers[seq - 1], n, "answered is logged");
      for (const n of this.refused) assert(!numbers.includes(n), "refused isn't logged");
      assert.equal(this.server.replacements >= 0, true);
    }
  }
}

const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: Number(process.env.EXAMPLES ?? 60) }, (_, index) => index + 1);

for (const replaces of [false, true]) {
  test(`lives${replaces ? ", with logs that are replaced" : ""}`, async () => {
    for (const seed of seeds) {
      const life = new Life(seed, replaces);
      try {
        await life.run();
      } catch (error) {
        console.error(`SEED=${seed}`);
        throw error;
      }
      await settle();
    }
  });
}
