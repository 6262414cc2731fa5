/** The room: a gathering as a program sees it, and how its parts are put together. */

import { Backoff } from "./backoff.js";
import { ChangeQueue } from "./changes.js";
import { GatheringError, textOf } from "./errors.js";
import { Exchange } from "./exchange.js";
import { Machine } from "./machine.js";
import { Outbox } from "./outbox.js";
import { Pace } from "./pace.js";
import { Presence, stateText } from "./presence.js";
import { isMessageId, randomId } from "./protocol.js";
import { Queue } from "./queue.js";
import { Renewal } from "./renewal.js";
import { Replica } from "./replica.js";
import { Requests } from "./requests.js";
import { ServerClock } from "./serverclock.js";
import { Session } from "./session.js";
import { syncOfEach } from "./syncs.js";
import { Telling } from "./telling.js";

/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./changes.js").Change} Change */
/** @typedef {import("./changes.js").Dispersed} Dispersed */
/** @typedef {import("./connection.js").Environment} Environment */
/** @typedef {import("./connection.js").Route} Route */
/** @typedef {import("./presence.js").PresenceView} PresenceView */
/** @typedef {import("./session.js").Status} Status */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./tabs.js").Tabs} Tabs */
/** @typedef {import("./telling.js").Shown} Shown */

/**
 * @template State
 * @typedef {object} Page A gathering as it was, or a part of its log.
 * @property {number} seq The last op of it.
 * @property {any} [snapshot] The server's state after `seq`, where its behaviour gives one.
 * @property {Change[]} [changes] Otherwise its ops. Where they end before `seq`, fetch again.
 */

/**
 * @typedef {object} RoomEvents What `addEventListener` takes, and the `detail` of each.
 * @property {CustomEvent<Status>} status
 * @property {CustomEvent<any>} state The state is another one now.
 * @property {CustomEvent<Change>} change Somebody else has submitted an op.
 * @property {CustomEvent<{ id: string, ops: Op[], error: GatheringError }>} refused What was
 *   submitted was refused for good; also what is from before a reload.
 * @property {CustomEvent<{ rule: string, left: number } | null>} ending The gathering will end; null: not any more.
 * @property {CustomEvent<PresenceView | null>} presence Others are here, or with other states.
 * @property {CustomEvent<Dispersed>} dispersed It has ended, and nothing is wrong.
 * @property {CustomEvent<string>} role
 * @property {CustomEvent<GatheringError>} warning Something has failed, and the room goes on.
 * @property {CustomEvent<GatheringError>} closed It is over for good.
 */

/**
 * A gathering that a program has joined, by `connect`. A lost connection is nothing but a pause
 * here. What ends it for good (`unauthorized`, `replaced`, `left` ...) is what everything rejects
 * with that is called or waits.
 * @template State
 */
export class Room extends EventTarget {
  #session;
  #exchange;
  #outbox;
  /** @type {Tabs} */
  #tabs;
  #unwatch;
  #now;
  #telling;
  #isReading = false;
  /** Whether this page asks who is here; another tab may, that goes through this one. */
  #asks;
  /** @type {Promise<void> | null} */
  #closed = null;
  /** @type {Dispersed | null} */
  #dispersed = null;

  /**
   * By `connect` only.
   * @param {object} parts
   * @param {string} parts.id
   * @param {string} parts.name What it is called in this browser's storage.
   * @param {Settings} parts.settings
   * @param {Environment} parts.environment
   * @param {import("./tokens.js").Tokens} parts.tokens
   * @param {import("./page.js").Page} parts.page
   * @param {import("./machine.js").Behaviour<State> | null} parts.behaviour
   * @param {boolean} parts.optimistic
   * @param {number | null} parts.since
   * @param {boolean} parts.syncs
   * @param {string | null} parts.presence A state, as JSON.
   * @param {Storage} parts.storage
   * @param {string | null} parts.client
   * @param {() => import("./connection.js").Socket} parts.open
   * @param {import("./tabs.js").MakeTabs} parts.makeTabs
   */
  constructor(parts) {
    super();
    const { id, name, settings, environment, page, behaviour, optimistic, since } = parts;
    const { wallTime } = environment;
    this.id = id;
    this.#asks = parts.presence !== null;
    this.#now = environment.now;
    const tab = randomId();
    this.#outbox = new Outbox({
      storage: parts.storage,
      room: name,
      tab,
      client: parts.client,
      wallTime,
      warn: (cause) => {
        const text = `what isn't answered can't be kept: ${textOf(cause)}`;
        this.#telling.say("warning", new GatheringError("storage", text, { cause }));
      },
    });
    const replica = new Replica({
      changes: new ChangeQueue(settings.maxChanges, (change) => this.#telling.say("change", change)),
      machine: behaviour && new Machine(behaviour),
      optimistic,
      clock: new ServerClock(wallTime, environment.now),
      released: (released, epoch) => this.#tabs.relay.released(released, epoch),
      restored: () => this.#tabs.relay.restored(),
    });
    const pace = new Pace(settings.maxPause, settings.repeatInterval);
    const queue = new Queue(pace, settings.repeatInterval);
    const requests = new Requests(replica, queue, this.#outbox, ({ id, ops }, error) =>
      this.#telling.say("refused", { id, ops, error }),
    );
    const backoff = new Backoff(settings.firstPause, settings.maxPause, environment.random);
    this.#exchange = new Exchange({
      gathering: id,
      replica,
      requests,
      renewal: new Renewal(backoff),
      presence: new Presence(parts.presence, settings.presenceInterval, (error) =>
        this.#telling.say("warning", error),
      ),
      syncs: parts.syncs,
      since,
      // Timers are throttled where nobody looks: there it is said at once.
      ackDelay: () => (page.isVisible() ? settings.ackDelay : 0),
    });
    this.#session = new Session({
      exchange: this.#exchange,
      settings,
      environment,
      tokens: parts.tokens,
      route: () => this.#tabs.route,
      isVisible: page.isVisible,
      dispersed: (dispersed) => {
        this.#dispersed = dispersed;
        this.#tabs.relay.dispersed(dispersed);
        this.#telling.say("dispersed", dispersed);
      },
      replaced: () => this.#tabs.relay.replaced(),
      tell: () => this.#telling.tell(),
    });
    const outbox = this.#outbox;
    this.#tabs = parts.makeTabs({
      name,
      tab,
      session: this.#session,
      server: {
        isServer: true,
        get client() {
          return outbox.client;
        },
        prepare: () => this.#prepare(),
        open: parts.open,
      },
    });
    this.#telling = new Telling({
      look: () => this.#look(),
      first: (shown) => this.#settle(shown),
      send: (type, detail) => this.dispatchEvent(new CustomEvent(type, { detail })),
      endingNow: () => this.ending,
    });
    this.#unwatch = page.watch({
      visible: () => this.#session.hurry(),
      hidden: () => this.#session.hidden(),
      online: () => this.#session.hurry(),
      offline: () => this.#session.hurry(),
      suspend: () => {
        this.#session.suspend();
        this.#tabs.stop();
      },
      resume: () => {
        this.#tabs.start();
        this.#session.resume();
      },
    });
    this.#tabs.start();
    this.#session.start();
  }

  /** Go on with what this browser has asked for before, and what isn't answered. */
  async #prepare() {
    for (const pending of await this.#outbox.load()) this.#exchange.requests.adopt(pending);
    this.#telling.tell();
  }

  // What is known.

  /** The state, with what isn't answered yet; undefined without a `fold`. @returns {State} */
  get state() {
    return this.#exchange.replica.state;
  }

  /** The seq of the last op that has arrived. */
  get seq() {
    return this.#exchange.replica.seq;
  }

  /** What the room does now. @returns {Status} */
  get status() {
    const { status } = this.#session;
    // Open is what the tab that leads says of itself.
    return status === "open" ? (this.#tabs.status ?? status) : status;
  }

  /** Why the room isn't connected, for people; null while it is. @returns {string | null} */
  get trouble() {
    return this.#session.trouble;
  }

  /** Why it is over for good; null while it isn't. @returns {GatheringError | null} */
  get failure() {
    return this.#session.failure;
  }

  /** Who this is to the others; null for nobody known. @returns {string | null} */
  get user() {
    return this.#exchange.replica.user;
  }

  /** What this client is to the gathering. @returns {string} */
  get role() {
    return this.#exchange.replica.role;
  }

  /** What isn't answered yet, in order: also of other tabs, and from before a reload. */
  get pending() {
    return [...this.#exchange.replica.pending.values()].map(({ id, ops }) => ({ id, ops }));
  }

  /** The end that the server has warned of: the rule, and in how many milliseconds. */
  get ending() {
    const { ending } = this.#exchange;
    return ending && { rule: ending.rule, left: Math.max(0, ending.at - this.#now()) };
  }

  /**
   * Who is here, this client included; null while that isn't known: presence wasn't asked for, the
   * server has none, or there is no connection now.
   * @returns {PresenceView | null}
   */
  get presence() {
    return this.#asks && this.status === "open" ? this.#exchange.presence.view : null;
  }

  /** In how many milliseconds the gathering disperses at the earliest; null while it is asleep. */
  get expiresIn() {
    if (this.status === "asleep") return null;
    return Math.max(0, this.#exchange.expiresAt - this.#now());
  }

  /** How the gathering ended the last time; null while it hasn't. @returns {Dispersed | null} */
  get dispersed() {
    return this.#dispersed;
  }

  /** Whether this tab has the connection, and the others of this browser go through it. */
  get leads() {
    return this.#tabs.leads;
  }

  // What is asked.

  /**
   * Submit an op, or several as one: all or none. Resolves when they are durable, however long that
   * takes, with their seqs. Wakes a gathering that has dispersed.
   *
   * Rejects with `rejected`, `conflict`, `forbidden`, `too_big`, `log_full`, `id_reused`; with
   * `bad_message` for what isn't JSON; and with what ends the room. Where `signal` is aborted,
   * it rejects with its reason; the ops may be applied all the same, unless they weren't sent.
   * @param {Op | Op[]} ops
   * @param {{ id?: string, signal?: AbortSignal }} [options] `id` names this submit for ever:
   *   submitted again with it, it is applied once and answered again.
   * @returns {Promise<number[]>}
   */
  submit(ops, options = {}) {
    const answer = this.#submit(ops, options);
    // Who doesn't wait for it may listen for `refused`.
    answer.catch(() => {});
    return answer;
  }

  /**
   * @param {Op | Op[]} ops
   * @param {{ id?: string, signal?: AbortSignal }} options
   * @returns {Promise<number[]>}
   */
  async #submit(ops, { id = randomId(), signal }) {
    this.#check();
    signal?.throwIfAborted();
    const several = Array.isArray(ops) ? ops : [ops];
    const text = encoded(several);
    if (!isMessageId(id)) {
      throw new GatheringError("bad_message", "an id is text of 1 to 128 characters");
    }
    const { requests, replica } = this.#exchange;
    const user = this.#exchange.began ? replica.user : undefined;
    const pending = this.#outbox.make(id, replica.seq, text, user);
    const settled = new AbortController();
    try {
      return await new Promise((resolve, reject) => {
        requests.askToSync(pending, { done: resolve, failed: reject });
        const giveUp = () => {
          if (!requests.withdraw(id)) requests.leave(id);
          reject(signal?.reason);
          this.#telling.tell();
        };
        signal?.addEventListener("abort", giveUp, { signal: settled.signal });
        this.#session.asked();
        this.#telling.tell();
      });
    } finally {
      settled.abort();
    }
  }

  /**
   * Be shown with this state from now on; ask for presence, if `connect` didn't. It goes out soon,
   * and on each new connection; of several only the newest does. It wakes no gathering. What the
   * server refuses is a `warning`. Throws `bad_message` for what isn't an object.
   * @param {Record<string, any>} state
   */
  setPresence(state) {
    this.#asks = true;
    this.#exchange.presence.say(stateText(state), this.user);
    this.#session.said();
  }

  /**
   * The gathering as it was after the op `at`, or at an instant; or its ops after `since`. It is
   * activity, and wakes a gathering that has dispersed.
   * @param {{ at?: number | Date, since?: number }} [what]
   * @returns {Promise<Page<State>>}
   */
  async fetch({ at, since } = {}) {
    this.#check();
    const id = randomId();
    const point = at instanceof Date ? { at_time: at.getTime() } : at === undefined ? {} : { at };
    const fetch = { id, ...(since !== undefined && { since }), ...point };
    /** @type {import("./protocol.js").Fetched} */
    const fetched = await new Promise((resolve, reject) => {
      this.#exchange.requests.askToLook(fetch, { done: resolve, failed: reject });
      this.#session.asked();
    });
    const { seq, ops, by, times, first_seq: first = (since ?? 0) + 1 } = fetched;
    if (!ops || !by) return { seq, snapshot: fetched.snapshot };
    const syncs = syncOfEach(first, ops.length, fetched.syncs);
    const changes = ops.map((op, index) => {
      const [time, sync] = [times?.[index] ?? 0, syncs[index]];
      return { seq: first + index, by: by[index], op, time, mine: false, sync };
    });
    return { seq, changes };
  }

  /**
   * What others do, each op once and in order, beginning with the join (or with `since`, as
   * `connect` was told). It ends when the gathering disperses: `dispersed` says why, and the next
   * loop goes on after that. It throws `log_replaced` where the server's log turns out to be
   * another one: the next loop begins with its first op. It ends, too, when the room is closed. One
   * loop at a time.
   * @returns {AsyncGenerator<Change, void, undefined>}
   */
  async *changes() {
    if (this.#isReading) throw new GatheringError("bad_message", "another loop reads the changes");
    this.#isReading = true;
    try {
      while (true) {
        const change = await this.#nextChange();
        if (change === null) return;
        yield change;
      }
    } finally {
      this.#isReading = false;
    }
  }

  async #nextChange() {
    const { changes } = this.#exchange.replica;
    while (true) {
      const taken = changes.take();
      if (taken === null) {
        if (this.#session.failure?.code === "left") return null;
        this.#check();
        await this.#telling.wait();
      } else if ("missing" in taken) {
        this.#check();
        this.#exchange.requests.askToFetch(taken.missing);
        this.#session.asked();
        await this.#telling.wait();
      } else if ("change" in taken) return taken.change;
      else if ("dispersed" in taken) return null;
      else throw taken.replaced;
    }
  }

  /**
   * Resolves when all that was submitted is kept beyond this page, or that has failed (`warning`).
   * @returns {Promise<void>}
   */
  kept() {
    return this.#outbox.written();
  }

  /** Wake the gathering if it has dispersed; resolves once this client is in it. */
  async reopen() {
    this.#session.rejoining++;
    try {
      this.#session.asked();
      while (this.status !== "open") {
        this.#check();
        await this.#telling.wait();
      }
    } finally {
      this.#session.rejoining--;
    }
  }

  /**
   * Say goodbye. What isn't answered stays in the storage, and is asked for again by the next
   * `connect` to this gathering.
   * @returns {Promise<void>} Resolves when the connection is closed.
   */
  close() {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close() {
    this.#session.close(new GatheringError("left", `${this.id} was left`));
    while (this.status !== "closed") await this.#telling.wait();
    await this.#outbox.written();
    this.#outbox.storage.close?.();
  }

  #check() {
    if (this.#session.failure) throw this.#session.failure.copy();
  }

  // Events.

  /**
   * @template {keyof RoomEvents} K
   * @overload
   * @param {K} type
   * @param {(event: RoomEvents[K]) => void} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @overload
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @override
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  #look() {
    const { replica, ending } = this.#exchange;
    const { failure } = this.#session;
    const { status, presence } = this;
    return { status, ending, presence, role: replica.role, state: replica.state, failure };
  }

  /** Before anybody else is told: other tabs are, and an end is one. @param {Shown} shown */
  #settle(shown) {
    if (shown.status === "closed") {
      this.#unwatch();
      this.#tabs.stop();
    }
    if (shown.status === "open") this.#dispersed = null;
    this.#tabs.relay.tell(shown);
  }
}

/**
 * Ops as JSON. Throws `GatheringError` for what isn't an op.
 * @param {unknown[]} ops
 */
function encoded(ops) {
  const wrong = () => new GatheringError("bad_message", "an op is an object that JSON can say");
  if (!ops.length) throw new GatheringError("bad_message", "a submit has at least one op");
  const texts = ops.map((op) => {
    let text;
    try {
      text = JSON.stringify(op);
    } catch (cause) {
      throw new GatheringError("bad_message", "an op is an object that JSON can say", { cause });
    }
    if (!text?.startsWith("{")) throw wrong();
    return text;
  });
  return `[${texts.join(",")}]`;
}
