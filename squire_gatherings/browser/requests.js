/** Requests: what a client has asked for and isn't answered. Told the time; it does no I/O. */

import { Diverged, GatheringError, Lost } from "./errors.js";
import { CloseCode, FOR_THE_WIRE, PASSING, randomId, RATE_LIMITED } from "./protocol.js";

/** @typedef {import("./protocol.js").Fetch} Fetch */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Synced} Synced */
/** @typedef {import("./protocol.js").ErrorMessage} ErrorMessage */
/** @typedef {import("./replica.js").Pending} Pending */
/** @typedef {import("./replica.js").Replica} Replica */
/** @typedef {import("./queue.js").Queue} Queue */

/**
 * @template T
 * @typedef {{ done: (answer: T) => void, failed: (error: GatheringError) => void }} Waiter
 */

/** @typedef {{ fetch: Fetch, waiter: Waiter<Fetched> }} Look */

/**
 * @callback Refused A sync was refused for good.
 * @param {Pending} pending
 * @param {GatheringError} error
 * @returns {void}
 */

/**
 * @typedef {object} Outbox Keeps what isn't answered beyond this page.
 * @property {(pending: Pending) => void} put
 * @property {(pending: Pending) => void} drop
 */

/**
 * The syncs and fetches of one client that aren't answered, and who waits for the answers. Each
 * goes out again on each new connection, a sync with the same id.
 */
export class Requests {
  /** Whether there is a connection on which they may go out. */
  isOpen = false;
  /** @type {number | null} How many ops the server takes in one sync, where it says so. */
  maxOps = null;
  /** @type {Fetch | null} What the reader lacks, and is asked for. */
  fetch = null;
  /** @type {Map<string, Look>} Other fetches, and who waits for them. */
  looks = new Map();
  /** @type {GatheringError | null} What the reader is to be told of its fetch. */
  #fetchFailure = null;
  /** @type {Map<string, Waiter<number[]>>} */
  #waiters = new Map();
  /** Whether the server has said on this connection that something is too big. */
  #toldTooBig = false;
  #logEnd = 0;

  /**
   * @param {Replica} replica Its `pending` are the syncs.
   * @param {Queue} queue Those that may go out on this connection, by their ids.
   * @param {Outbox} outbox
   * @param {Refused} [wasRefused]
   */
  constructor(replica, queue, outbox, wasRefused) {
    this.replica = replica;
    this.queue = queue;
    this.outbox = outbox;
    this.wasRefused = wasRefused;
  }

  // What is asked for.

  /**
   * Ask for a sync. Throws `GatheringError`.
   * @param {Pending} pending
   * @param {Waiter<number[]>} waiter
   * @param {{ keep: boolean }} [options] Whether it is kept beyond this page.
   */
  askToSync(pending, waiter, { keep } = { keep: true }) {
    const { id, ops, text } = pending;
    if (this.maxOps !== null && ops.length > this.maxOps) {
      throw new GatheringError("too_big", `a sync has at most ${this.maxOps} ops here`);
    }
    const known = this.replica.pending.get(id);
    if (known && (known.text !== text || (known.mine && this.#waiters.has(id)))) {
      throw new GatheringError("bad_message", `a sync with the id ${id} is under way`);
    }
    this.#waiters.set(id, waiter);
    if (known) {
      known.mine = pending.mine;
      known.tab = pending.tab;
    } else {
      if (keep) this.outbox.put(pending);
      this.adopt(pending);
    }
  }

  /** Go on with a sync that was asked for before. @param {Pending} pending */
  adopt(pending) {
    if (this.replica.pending.has(pending.id)) return;
    this.replica.submit(pending);
    this.#put(pending.id);
  }

  /**
   * Take a sync back, if it never went out; whether that is so.
   * @param {string} id
   */
  withdraw(id) {
    const pending = this.replica.pending.get(id);
    if (!pending || pending.sent || pending.inDoubt) return false;
    this.queue.forget(id);
    this.#waiters.delete(id);
    this.outbox.drop(pending);
    this.replica.failed(id);
    return true;
  }

  /** This stays where it is kept, and isn't asked for here. @param {string} id */
  setAside(id) {
    this.#waiters.delete(id);
    this.queue.forget(id);
    this.replica.failed(id);
  }

  /** What other tabs, or earlier pages, have asked for is another tab's to ask from now on. */
  setOthersAside() {
    for (const pending of [...this.replica.pending.values()]) {
      if (!pending.mine) this.setAside(pending.id);
    }
  }

  /** Nobody waits for this answer any more. @param {string} id */
  leave(id) {
    this.#waiters.delete(id);
  }

  /** Ask for the ops after `since`. Throws, once, why that failed. @param {number} since */
  askToFetch(since) {
    if (this.#fetchFailure) {
      const failure = this.#fetchFailure;
      this.#fetchFailure = null;
      throw failure;
    }
    if (!this.fetch) {
      this.fetch = { id: randomId(), since };
      this.#put(this.fetch.id);
    }
  }

  /** @param {Fetch} fetch @param {Waiter<Fetched>} waiter */
  askToLook(fetch, waiter) {
    this.looks.set(fetch.id, { fetch, waiter });
    this.#put(fetch.id);
  }

  /** @param {string} id */
  #put(id) {
    if (this.isOpen) this.queue.put([id]);
  }

  /** Whether anything isn't answered. */
  get isWaiting() {
    return this.replica.pending.size > 0 || this.fetch !== null || this.looks.size > 0;
  }

  // Connections begin and end.

  /**
   * There is a new connection: everything goes out on it.
   * @param {number | null} maxOps
   * @param {number} logEnd The last op of the log.
   */
  begin(maxOps, logEnd) {
    this.maxOps = maxOps;
    this.#logEnd = logEnd;
    this.isOpen = true;
    this.#toldTooBig = false;
    this.queue.put(this.replica.pending.keys());
    if (this.fetch) this.queue.put([this.fetch.id]);
    this.queue.put(this.looks.keys());
  }

  /** The connection has ended, with that close code. @param {number | null} code @param {number} now */
  lost(code, now) {
    if (code === CloseCode.TOO_BIG && !this.#toldTooBig && this.queue.sent.size) {
      try {
        this.#refuseOne(new GatheringError("too_big", "the server takes no such message"), now);
      } catch (error) {
        if (!(error instanceof Diverged)) throw error;
        this.replica.startOver();
      }
    } else if (code === CloseCode.RATE_LIMIT) {
      this.queue.pace.slower(now);
    }
    this.isOpen = false;
    this.replica.lost();
    this.queue.clear();
  }

  /** The log is another one: what was to be fetched isn't in it. */
  startOver() {
    if (this.fetch) this.queue.forget(this.fetch.id);
    this.fetch = this.#fetchFailure = null;
  }

  /** Nothing more will be answered. @param {GatheringError} error */
  fail(error) {
    const waiters = [...this.#waiters.values(), ...[...this.looks.values()].map((l) => l.waiter)];
    this.#waiters.clear();
    this.looks.clear();
    for (const waiter of waiters) waiter.failed(error.copy());
  }

  // What goes out.

  /**
   * What goes out now, as JSON, if anything may.
   * @param {number} now
   * @returns {string | null}
   */
  next(now) {
    for (let id = this.queue.pop(now); id !== null; id = this.queue.pop(now)) {
      const pending = this.replica.pending.get(id);
      const fetch = this.fetchOf(id);
      if (!pending && !fetch) continue;
      this.queue.went(id, now);
      if (!pending) return JSON.stringify({ type: "fetch", ...fetch });
      pending.sent = true;
      // What was kept may be based on a log of which an older backup was restored.
      pending.base = Math.min(pending.base, Math.max(this.#logEnd, this.replica.seq));
      const head = JSON.stringify({ type: "sync", id, base: pending.base });
      return `${head.slice(0, -1)},"ops":${pending.text}}`;
    }
    return null;
  }

  // Answers.

  /** @param {string} id @returns {Fetch | null} The fetch, if this is its id. */
  fetchOf(id) {
    return this.looks.get(id)?.fetch ?? (this.fetch?.id === id ? this.fetch : null);
  }

  /** A sync was applied. @param {Pending} pending @param {number[]} seqs */
  synced(pending, seqs) {
    this.#settle(pending, (waiter) => waiter.done(seqs));
  }

  /** @param {Fetched} fetched */
  looked(fetched) {
    const look = this.looks.get(fetched.id);
    this.looks.delete(fetched.id);
    this.queue.done(fetched.id);
    look?.waiter.done(fetched);
  }

  /** What was to be fetched is there. @param {Fetch} fetch */
  fetched(fetch) {
    this.fetch = null;
    this.queue.done(fetch.id);
  }

  /** The server refuses a request for good. @param {string} id @param {GatheringError} error */
  refused(id, error) {
    const look = this.looks.get(id);
    const pending = this.replica.pending.get(id);
    if (look) {
      this.looks.delete(id);
      this.queue.done(id);
      look.waiter.failed(error);
    } else if (this.fetch?.id === id) {
      this.fetch = null;
      this.#fetchFailure = error;
      this.queue.done(id);
    } else if (pending) {
      this.#settle(pending, (waiter) => waiter.failed(error));
      this.wasRefused?.(pending, error);
      this.replica.failed(id);
    }
  }

  /** The server says that something failed. Throws `Lost`. @param {ErrorMessage} error @param {number} now */
  failed(error, now) {
    const { id, code, message } = error;
    // A probe was answered, which is all that it's for.
    if (code === "unknown_type") return;
    if (code === "log_replaced") throw new Lost(message, CloseCode.LOG_REPLACED);
    if (id === undefined || id === null) {
      this.#failedUnnamed(code, message, now);
      return;
    }
    this.#toldTooBig ||= code === "too_big";
    if (!this.replica.pending.has(id) && !this.fetchOf(id)) return;
    // Where our rights have ended they're renewed, or the connection ends.
    if (code === "unauthorized") this.queue.hold([id], now);
    else if (PASSING.has(code)) this.#repeat([id], code, now);
    else this.refused(id, new GatheringError(code, message));
  }

  /**
   * The server doesn't say which request it means.
   * @param {string} code
   * @param {string} message
   * @param {number} now
   */
  #failedUnnamed(code, message, now) {
    if (FOR_THE_WIRE.has(code)) throw new Lost(`the server says: ${message}`);
    this.#toldTooBig ||= code === "too_big";
    const sent = [...this.queue.sent];
    if (PASSING.has(code)) this.#repeat(sent, code, now);
    else if (sent.length) this.#refuseOne(new GatheringError(code, message), now);
  }

  /** @param {string[]} ids @param {string} code @param {number} now */
  #repeat(ids, code, now) {
    if (code === RATE_LIMITED) this.queue.pace.slower(now);
    this.queue.repeat(ids, now);
  }

  /**
   * Refuse what was sent, or if that's several, find out which of them is meant.
   * @param {GatheringError} error
   * @param {number} now
   */
  #refuseOne(error, now) {
    const sent = [...this.queue.sent];
    if (sent.length === 1) this.refused(sent[0], error);
    else this.queue.suspect(sent, now);
  }

  /**
   * @param {Pending} pending
   * @param {(waiter: Waiter<number[]>) => void} tell
   */
  #settle(pending, tell) {
    const waiter = this.#waiters.get(pending.id);
    this.#waiters.delete(pending.id);
    this.queue.done(pending.id);
    this.outbox.drop(pending);
    if (waiter) tell(waiter);
  }
}
