/** A server that is a list: what the protocol says of one gathering, told the time by a clock. */

/** A clock that goes on when it is told to. */
export class Clock {
  now = 0;
  timers = new Map();
  #last = 0;

  setTimer(run, after) {
    const id = ++this.#last;
    this.timers.set(id, { at: this.now + Math.max(after, 0), id, run });
    return id;
  }

  clearTimer(id) {
    this.timers.delete(id);
  }

  /** Let time go by, with all that happens in it. */
  async pass(milliseconds) {
    const until = this.now + milliseconds;
    await settle();
    while (true) {
      let next;
      for (const one of this.timers.values()) if (!next || one.at < next.at) next = one;
      if (!next || next.at > until) break;
      this.now = Math.max(this.now, next.at);
      this.timers.delete(next.id);
      next.run();
      await settle();
    }
    this.now = until;
  }
}

/** Let everything run that isn't waiting for the clock. */
export async function settle() {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Numbers that look random, the same for each seed. */
export function makeRandom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** After these ends something is wrong, or was: who comes back wakes the gathering. */
const WRONG = new Set(["crashed", "shutdown", "moved", "evicted"]);
const REPEATED = new Set(["forward", "synced"]);
/** Who is here is told so often at most. */
const PRESENCE_INTERVAL = 250;

/** Both ends of a connection: what is said arrives in order, a while later, unless it is cut. */
class Connection {
  bufferedAmount = 0;
  onopen = this.onmessage = this.onclose = this.onerror = null;
  isOpen = false;
  isCut = false;
  #arrives = 0;

  constructor(server) {
    this.server = server;
    const { isUp } = server;
    this.later(() => {
      if (!isUp || !server.isUp) return this.cut();
      this.isOpen = true;
      server.connections.add(this);
      this.onopen?.({});
    });
  }

  later(run) {
    const { clock, random } = this.server;
    this.#arrives = Math.max(this.#arrives, clock.now + random() * 20);
    clock.setTimer(() => this.isCut || run(), this.#arrives - clock.now);
  }

  // The client's end.

  send(text) {
    if (!this.isOpen) throw new Error("not open");
    this.later(() => this.server.connections.has(this) && this.server.hear(this, JSON.parse(text)));
  }

  close() {
    this.isCut = true;
    this.server.connections.delete(this);
  }

  // The server's.

  say(message) {
    const text = JSON.stringify(message);
    this.later(() => this.onmessage?.({ data: text }));
    if (REPEATED.has(message.type) && this.server.random() < this.server.repeats) {
      this.later(() => this.onmessage?.({ data: text }));
    }
  }

  shut(code, reason = "") {
    this.server.connections.delete(this);
    this.later(() => this.onclose?.({ code, reason }));
  }

  /** Break it, without a word. */
  cut() {
    this.isCut = true;
    this.server.connections.delete(this);
    this.server.clock.setTimer(() => this.onclose?.({ code: 1006, reason: "" }), 0);
  }
}

/** One gathering, and the server that it is on. */
export class Server {
  isUp = true;
  /** How often a message comes twice that may. */
  repeats = 0;
  /** In seconds; for `joined`. */
  ackDelay = undefined;
  /** @type {{ op: object, by: string | null, time: number, epoch: string, sync: string, client: string }[]} */
  log = [];
  connections = new Set();
  incarnation = null;
  incarnations = 0;
  /** How each ended that did. */
  ends = new Map();
  /** The next syncs are answered so. */
  moods = [];
  errors = [];
  lastUsed = 0;
  /** How often somebody was replaced. */
  replacements = 0;
  /** Who is here, as it was told last, and its number. */
  #told = new Map();
  #version = 0;
  #isTelling = false;

  constructor(clock, random, { rename = false } = {}) {
    this.clock = clock;
    this.random = random;
    this.rename = rename;
  }

  connect() {
    return new Connection(this);
  }

  hear(connection, message) {
    if (!connection.client && message.type !== "join") throw new Error(`${message.type} first`);
    switch (message.type) {
      case "join":
        return this.#join(connection, message);
      case "sync":
        return this.#sync(connection, message);
      case "fetch":
        return this.#fetch(connection, message);
      case "ack":
        if (message.seq > this.log.length) this.errors.push(`ack ${message.seq}`);
        return undefined;
      case "presence":
        if (this.moods.pop() === "limited") {
          return connection.say({ type: "error", id: message.id, code: "rate_limited", message: "" });
        }
        return this.#present(connection, message.state);
      case "leave":
        return connection.shut(1000);
      default:
        return connection.say({ type: "error", code: "unknown_type", message: "?", id: message.id });
    }
  }

  /** Who is here, by user: the state that was set last. */
  present() {
    const shown = new Map();
    const asked = [...this.connections].filter((one) => one.state);
    for (const { user, state, said } of asked.sort((a, b) => a.said - b.said)) {
      const connections = (shown.get(user)?.connections ?? 0) + 1;
      if (user !== null) shown.set(user, { user, connections, state, said });
    }
    for (const one of shown.values()) delete one.said;
    return shown;
  }

  #present(connection, state) {
    Object.assign(connection, { state, said: ++this.saids, known: connection.known ?? 0 });
    this.#tellSoon();
  }

  saids = 0;

  #tellSoon() {
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.clock.setTimer(() => {
      this.#isTelling = false;
      this.#tellWhoIsHere();
    }, PRESENCE_INTERVAL);
  }

  #tellWhoIsHere() {
    const shown = this.present();
    const before = this.#told;
    const same = (one) => JSON.stringify(before.get(one.user)) === JSON.stringify(one);
    const changed = [...shown.values()].filter((one) => !same(one));
    const gone = [...before.keys()].filter((user) => !shown.has(user));
    this.#told = shown;
    const version = ++this.#version;
    const common = { type: "presence", version, count: shown.size, anonymous: 0 };
    let isAnybody = false;
    for (const one of this.connections) {
      if (!one.state) continue;
      isAnybody = true;
      if (one.known === version - 1) one.say({ ...common, users: changed, gone, since: version - 1 });
      else one.say({ ...common, users: [...shown.values()] });
      one.known = version;
    }
    // A connection that is gone isn't noticed otherwise.
    if (isAnybody) this.#tellSoon();
  }

  #join(connection, join) {
    const { client, since = 0, epoch, resume, tail, token = null, syncs, presence } = join;
    const known = since && this.log[since - 1];
    if (since && (!known || (epoch !== undefined && known.epoch !== epoch))) {
      connection.say({ type: "error", code: "log_replaced", message: "another log" });
      return connection.shut(4011);
    }
    const sleeps = this.incarnation === null && !WRONG.has(this.ends.get(resume));
    if (resume && sleeps && this.ends.has(resume)) {
      connection.say(this.#notice(this.ends.get(resume), resume));
      return connection.shut(4001);
    }
    for (const other of [...this.connections]) {
      if (other !== connection && other.client === client) {
        this.replacements++;
        other.shut(4009);
      }
    }
    this.incarnation ??= `i${++this.incarnations}`;
    this.lastUsed = this.clock.now;
    const seq = this.log.length;
    Object.assign(connection, { client, user: token, told: seq, syncs: syncs === true });
    if (presence) this.#present(connection, presence);
    const page = this.log.slice(tail ? seq : since, since + 7);
    connection.say({
      type: "joined", gathering: "room", incarnation: this.incarnation, seq, role: "member",
      user: token, idle_timeout: 60, expires_in: 60, max_ops: 100,
      ack_delay: this.ackDelay,
      ...this.#page(connection, page, seq),
    });
    if (tail) return undefined;
    return this.#forwards(connection, since + page.length);
  }

  /** The syncs of a page, as the protocol has them. */
  #syncs(page) {
    const runs = new Map();
    for (const { sync, client } of page) {
      const isOf = (one) => one.sync === sync && one.client === client;
      const first = this.log.findIndex(isOf) + 1;
      runs.set(first, [first, this.log.filter(isOf).length, sync]);
    }
    return [...runs.values()];
  }

  #page({ syncs }, page, end) {
    const last = page.at(-1) ?? this.log[end - 1];
    return {
      ops: page.map(({ op }) => op),
      by: page.map(({ by }) => by),
      times: page.map(({ time }) => time),
      ...(last && { epoch: last.epoch }),
      ...(syncs && { syncs: this.#syncs(page) }),
    };
  }

  #forwards(connection, from) {
    for (let seq = from + 1; seq <= this.log.length; seq += 5) {
      const page = this.log.slice(seq - 1, seq + 4);
      connection.say({ type: "forward", seq, ...this.#page(connection, page) });
    }
  }

  #sync(connection, { id, base, ops }) {
    const mood = this.moods.pop();
    const entries = this.log.filter((one) => one.sync === id && one.client === connection.client);
    const error = (code) => connection.say({ type: "error", id, code, message: code });
    if (mood === "unavailable") return error("store_unavailable");
    if (mood === "limited") return error("rate_limited");
    this.lastUsed = this.clock.now;
    if (!entries.length) {
      if (base > this.log.length) return error("bad_base");
      if (mood === "rejected") return error("rejected");
      if (mood === "conflict") {
        const page = this.log.slice(base);
        return connection.say({
          type: "conflict", id, seq: this.log.length, message: "no",
          ...this.#page(connection, page),
        });
      }
      const time = Math.floor(this.clock.now);
      for (const op of ops) {
        const logged = this.rename && op.n % 3 === 0 ? { ...op, renamed: true } : op;
        const by = connection.user;
        const { client } = connection;
        entries.push({ op: logged, by, time, epoch: this.incarnation, sync: id, client });
      }
      const seq = this.log.length + 1;
      this.log.push(...entries);
      for (const other of this.connections) {
        if (other === connection || !other.client) continue;
        const one = { type: "forward", seq, by: entries[0].by, op: entries[0].op, time };
        if (other.syncs) one.sync = [seq, 1, id];
        if (entries.length === 1) other.say(one);
        else other.say({ type: "forward", seq, ...this.#page(other, entries) });
      }
    }
    const first = this.log.indexOf(entries[0]) + 1;
    const seqs = entries.map((_, index) => first + index);
    const logged = this.rename ? { ops: entries.map(({ op }) => op) } : {};
    return connection.say({ type: "synced", id, seqs, time: entries[0].time, ...logged });
  }

  #fetch(connection, { id, since = 0, at = this.log.length }) {
    if (at > this.log.length || since > at) {
      return connection.say({ type: "error", id, code: "bad_base", message: "not there" });
    }
    const page = this.log.slice(since, Math.min(at, since + 3));
    return connection.say({ type: "fetched", id, seq: at, ...this.#page(connection, page, at) });
  }

  #notice(reason, incarnation) {
    const idle = (this.clock.now - this.lastUsed) / 1000;
    const seq = this.log.length;
    return { type: "dispersed", gathering: "room", incarnation, reason, seq, idle_for: idle };
  }

  // What happens to it.

  disperse(reason) {
    if (this.incarnation === null) return;
    const ended = this.incarnation;
    this.ends.set(ended, reason);
    this.incarnation = null;
    for (const connection of [...this.connections]) {
      if (!connection.client) continue;
      connection.say(this.#notice(reason, ended));
      connection.shut(reason === "crashed" ? 1011 : 4001);
    }
  }

  kill() {
    this.isUp = false;
    this.incarnation = null;
    this.ends.clear();
    for (const connection of [...this.connections]) connection.cut();
  }

  /** An older backup is restored, and others write to it. */
  restore(length) {
    this.kill();
    const { log } = this;
    // A sync is in a backup, or it isn't.
    while (length && log[length] && log[length].sync === log[length - 1].sync) length--;
    log.length = Math.min(length, log.length);
    this.isUp = true;
  }
}
