/**
 * The relay: a tab that leads is the server of the other tabs. They speak the protocol with it as
 * with a gathering, and it passes on what they ask in its own name.
 */

import { GatheringError } from "./errors.js";
import { CloseCode, randomId } from "./protocol.js";

/** @typedef {import("./changes.js").Dispersed} Dispersed */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./replica.js").Released} Released */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./syncs.js").SyncRun} SyncRun */

/**
 * @typedef {object} Follower Another tab that goes through this one.
 * @property {string} tab
 * @property {number} socket
 * @property {Wants | null} wants What it has, while it waits to join.
 * @property {boolean} counts Whether its wish to join wakes the gathering.
 * @property {boolean} joined
 * @property {boolean} asks Whether it asks who is here.
 */

/** @typedef {{ since: number, epoch?: string, tail: boolean, isFetching: boolean }} Wants */
/** @typedef {(to: string, socket: number, what: object) => void} Post */
/** @typedef {(what: object) => void} PostAll */
/** @typedef {import("./telling.js").Shown} Shown */

export class Relay {
  /** Whether we know what other tabs have asked for, as far as it is kept. */
  isReady = false;
  /** @type {Map<string, Follower>} */
  #followers = new Map();
  /** @type {string | null} */
  #incarnation = null;
  /** @type {Shown | null} */
  #told = null;
  /** @type {Dispersed | null} */
  #dispersed = null;
  /** @type {import("./presence.js").PresenceView | null} Who is here, as other tabs were told. */
  #view = null;
  /** How often they were told. */
  #presences = 0;

  /**
   * @param {Session} session
   * @param {Post} post
   * @param {PostAll} postAll
   * @param {() => number} now
   */
  constructor(session, post, postAll, now) {
    this.session = session;
    this.exchange = session.exchange;
    this.post = post;
    this.postAll = postAll;
    this.now = now;
  }

  // What other tabs say.

  /** @param {string} tab @param {number} socket */
  open(tab, socket) {
    const follower = { tab, socket, wants: null, counts: false, joined: false, asks: false };
    this.#followers.set(key(tab, socket), follower);
    this.post(tab, socket, { kind: "opened", status: this.session.status });
  }

  /** @param {string} tab @param {number} socket @param {string} text */
  say(tab, socket, text) {
    const follower = this.#followers.get(key(tab, socket));
    // It's from before we led: it begins again.
    if (!follower) this.post(tab, socket, { kind: "shut", code: 1006 });
    else this.#take(follower, JSON.parse(text));
  }

  /** @param {string} tab @param {number} [socket] All of them if it isn't given. */
  close(tab, socket) {
    for (const follower of [...this.#followers.values()]) {
      if (follower.tab === tab && (socket ?? follower.socket) === follower.socket) {
        this.#forget(follower);
      }
    }
  }

  /** @param {Follower} follower @param {any} message */
  #take(follower, message) {
    switch (message.type) {
      case "join":
        this.#join(follower, message);
        break;
      case "sync":
        this.#sync(follower, message);
        break;
      case "fetch":
        this.#fetch(follower, message);
        break;
      case "presence":
        this.#present(follower, message.state);
        break;
      case "leave":
        this.#shut(follower, CloseCode.LEFT, "");
        break;
      case "ping":
        this.#hear(follower, { type: "error", id: message.id, code: "unknown_type", message: "" });
        // Timers of a tab that nobody looks at are slow, and somebody looks at that one.
        this.session.hurry();
        break;
    }
  }

  /** @param {Follower} follower @param {any} join */
  #join(follower, { since = 0, epoch, resume, tail = false, presence }) {
    follower.wants = { since, epoch, tail, isFetching: false };
    if (presence !== undefined) this.#present(follower, presence);
    if (resume !== undefined && this.session.status === "asleep" && this.#dispersed) {
      this.#tellEnd(follower, this.#dispersed);
      return;
    }
    if (resume === undefined) {
      follower.counts = true;
      this.session.rejoining++;
      this.session.asked();
    }
    this.#admit(follower);
  }

  /** Let a tab in, if it may be by now. @param {Follower} follower */
  #admit(follower) {
    const { exchange, session } = this;
    const { replica } = exchange;
    const { wants } = follower;
    if (!this.isReady || !exchange.began || session.status === "asleep") return;
    if (!wants || wants.isFetching) return;
    const { since, epoch, tail } = wants;
    if (since > replica.shownSeq) {
      // It was told more than we were, by who led before us. That comes; or it's gone.
      const end = Math.max(exchange.joinedSeq, replica.seq);
      if (exchange.connected && since > end) this.#shutForGood(follower);
    } else if (since && since === replica.shownSeq && epoch !== replica.shownEpoch) {
      this.#shutForGood(follower);
    } else if (tail || since === replica.shownSeq) {
      const { shownSeq: seq, shownEpoch } = replica;
      this.#letIn(follower, { seq, ops: [], by: [], epoch: shownEpoch });
    } else {
      wants.isFetching = true;
      if (since) this.#compare(follower, since, epoch);
      else this.#catchUp(follower, 0, { ops: [], by: [], times: [], syncs: [] });
    }
  }

  /**
   * See whether a tab has the same log as the server.
   * @param {Follower} follower
   * @param {number} since
   * @param {string | undefined} epoch
   */
  #compare(follower, since, epoch) {
    this.#look(follower, { since: since - 1, at: since }, (fetched) => {
      // Where its beginning was left out, nobody knows.
      if (fetched && this.#epoch(fetched) !== epoch) this.#shutForGood(follower);
      else this.#catchUp(follower, since, { ops: [], by: [], times: [], syncs: [] });
    });
  }

  /**
   * Get what a tab lacks from the server, page by page, until it has all that we have.
   * @param {Follower} follower
   * @param {number} since
   * @param {{ ops: Op[], by: (string | null)[], times: number[], syncs: SyncRun[],
   *   first_seq?: number }} had
   */
  #catchUp(follower, since, had) {
    this.#look(follower, since ? { since } : {}, (fetched) => {
      if (!fetched) {
        this.#shut(follower, 1006, "what it lacks can't be had");
        return;
      }
      const { seq, ops, by, times, syncs, snapshot, first_seq: first } = fetched;
      const epoch = this.#epoch(fetched);
      if (!ops || !by) {
        this.#letIn(follower, { seq, snapshot, epoch });
        return;
      }
      had.ops.push(...ops);
      had.by.push(...by);
      had.times.push(...(times ?? ops.map(() => 0)));
      // A sync that goes on with another page is named by both.
      const told = had.syncs.at(-1)?.[0] ?? 0;
      had.syncs.push(...(syncs ?? []).filter(([start]) => start > told));
      if (first !== undefined && had.ops.length === ops.length) had.first_seq = first;
      const end = (first ?? since + 1) - 1 + ops.length;
      if (ops.length && (end < seq || end < this.exchange.replica.shownSeq)) {
        this.#catchUp(follower, end, had);
      } else {
        this.#letIn(follower, { seq: end, ...had, epoch });
      }
    });
  }

  /**
   * @param {Follower} follower
   * @param {{ since?: number, at?: number }} what
   * @param {(fetched: Fetched | null) => void} then
   */
  #look(follower, what, then) {
    /** @param {Fetched | null} fetched */
    const answered = (fetched) => {
      if (this.#followers.get(key(follower.tab, follower.socket)) === follower) then(fetched);
    };
    const waiter = { done: answered, failed: () => answered(null) };
    this.exchange.requests.askToLook({ id: randomId(), ...what }, waiter);
    this.session.asked();
  }

  /** @param {Fetched} fetched */
  #epoch(fetched) {
    return fetched.epoch ?? this.exchange.incarnation ?? undefined;
  }

  /** @param {Follower} follower @param {object} content */
  #letIn(follower, content) {
    const { exchange } = this;
    this.#admitted(follower);
    follower.joined = true;
    this.#hear(follower, {
      type: "joined",
      gathering: exchange.gathering,
      incarnation: exchange.incarnation,
      role: exchange.replica.role,
      user: exchange.replica.user,
      idle_timeout: null,
      expires_in: this.#secondsTo(exchange.expiresAt),
      ...(exchange.requests.maxOps !== null && { max_ops: exchange.requests.maxOps }),
      ...content,
    });
    if (exchange.ending) this.#hear(follower, this.#endingMessage(exchange.ending));
    this.#tellPresence(follower);
  }

  /**
   * A tab is to be shown with this state. All tabs are one client, and the last one's state counts.
   * @param {Follower} follower
   * @param {object} state
   */
  #present(follower, state) {
    const asked = follower.asks;
    follower.asks = true;
    const { presence, replica } = this.exchange;
    presence.say(JSON.stringify(state), replica.user);
    this.session.said();
    if (!asked && follower.joined) this.#tellPresence(follower);
  }

  /** @param {Follower} follower */
  #tellPresence(follower) {
    const { view } = this.exchange.presence;
    if (follower.asks && view) {
      this.#hear(follower, { type: "presence", version: ++this.#presences, ...view });
    }
  }

  /** @param {Follower} follower @param {any} sync */
  #sync(follower, { id, base, ops }) {
    const { requests, replica } = this.exchange;
    const text = JSON.stringify(ops);
    const { tab } = follower;
    const user = this.exchange.began ? replica.user : undefined;
    const pending = {
      id, base, ops, text, user, tab, at: 0, mine: false, sent: false, inDoubt: false,
    };
    /** @param {GatheringError} error */
    const failed = (error) => this.#fail(follower, id, error);
    /** @param {number[]} seqs */
    const done = (seqs) => {
      // Otherwise it is told in its place among the ops.
      if (seqs[seqs.length - 1] > replica.shownSeq) return;
      this.#hear(follower, { type: "synced", id, seqs });
    };
    try {
      // It is kept by the tab that submitted it.
      requests.askToSync(pending, { done, failed }, { keep: false });
      this.session.asked();
    } catch (error) {
      if (!(error instanceof GatheringError)) throw error;
      failed(error);
    }
  }

  /** @param {Follower} follower @param {any} message */
  #fetch(follower, { type: _, ...fetch }) {
    const waiter = {
      /** @param {object} fetched */
      done: (fetched) => this.#hear(follower, fetched),
      /** @param {GatheringError} error */
      failed: (error) => this.#fail(follower, fetch.id, error),
    };
    this.exchange.requests.askToLook(fetch, waiter);
    this.session.asked();
  }

  // What happens here.

  /** Ops are in the state. @param {Released[]} released @param {string | undefined} epoch */
  released(released, epoch) {
    if (this.#hasJoined) this.postAll({ kind: "feed", released, epoch });
  }

  /** A state came instead of ops: it isn't passed on, but given to all who join again. */
  restored() {
    this.#shutAll(1006, "the state is another one");
  }

  /** The log is another one. */
  replaced() {
    this.#shutAll(CloseCode.LOG_REPLACED, "the log is another one");
  }

  /** @param {Dispersed} dispersed */
  dispersed(dispersed) {
    this.#dispersed = dispersed;
    for (const follower of this.#followers.values()) {
      if (follower.joined) this.#tellEnd(follower, dispersed);
    }
  }

  /** Something has changed. @param {Shown} shown */
  tell(shown) {
    const told = this.#told;
    this.#told = shown;
    if (!this.#followers.size) return;
    const { failure } = shown;
    if (failure?.code === "unauthorized") this.#shutAll(CloseCode.UNAUTHORIZED, failure.message);
    if (failure?.code === "replaced") this.#shutAll(CloseCode.REPLACED, failure.message);
    const { incarnation, presence } = this.exchange;
    const { view } = presence;
    if (shown.status !== told?.status || incarnation !== this.#incarnation) {
      this.#incarnation = incarnation;
      this.postAll({ kind: "status", status: shown.status, incarnation });
    }
    for (const follower of this.#followers.values()) {
      if (!follower.joined) this.#admit(follower);
      else if (shown.role !== told?.role) {
        this.#hear(follower, { type: "refreshed", role: shown.role });
      }
      if (follower.joined && told && shown.ending !== told.ending) {
        const off = { rule: told.ending?.rule ?? "idle", at: null };
        this.#hear(follower, this.#endingMessage(shown.ending ?? off));
      }
      if (follower.joined && view !== this.#view) this.#tellPresence(follower);
    }
    this.#view = view;
  }

  get #hasJoined() {
    return [...this.#followers.values()].some((follower) => follower.joined);
  }

  /** @param {number} at By our clock. */
  #secondsTo(at) {
    return at === Infinity ? null : Math.max(0, at - this.now()) / 1000;
  }

  /** @param {{ rule: string, at: number | null }} ending */
  #endingMessage({ rule, at }) {
    const left = at === null ? null : this.#secondsTo(at);
    return { type: "ending", rule, expires_in: left, at_time: left === null ? null : 0 };
  }

  /** @param {string} id @param {GatheringError} error */
  #errorMessage(id, { code, message }) {
    if (code !== "conflict") return { type: "error", id, code, message };
    // What it lacked was passed on.
    return { type: "conflict", id, seq: Number.MAX_SAFE_INTEGER, ops: [], by: [], message };
  }

  /** @param {Follower} follower @param {string} id @param {GatheringError} error */
  #fail(follower, id, error) {
    // That this tab leaves is nothing to the others: they ask the next one that leads.
    if (!this.session.isOver) this.#hear(follower, this.#errorMessage(id, error));
  }

  /** @param {Follower} follower @param {Dispersed} dispersed */
  #tellEnd(follower, { reason, seq, idleFor }) {
    const { gathering, incarnation } = this.exchange;
    const idle_for = idleFor / 1000;
    this.#hear(follower, { type: "dispersed", gathering, incarnation, reason, seq, idle_for });
    this.#forget(follower);
  }

  /** @param {Follower} follower @param {object} message */
  #hear({ tab, socket }, message) {
    this.post(tab, socket, { kind: "hear", message });
  }

  /** It has another log than we have. @param {Follower} follower */
  #shutForGood(follower) {
    this.#shut(follower, CloseCode.LOG_REPLACED, "the log is another one");
  }

  /** @param {number} code @param {string} reason */
  #shutAll(code, reason) {
    for (const follower of [...this.#followers.values()]) this.#shut(follower, code, reason);
  }

  /** @param {Follower} follower @param {number} code @param {string} reason */
  #shut(follower, code, reason) {
    this.post(follower.tab, follower.socket, { kind: "shut", code, reason });
    this.#forget(follower);
  }

  /** @param {Follower} follower */
  #forget(follower) {
    this.#admitted(follower);
    this.#followers.delete(key(follower.tab, follower.socket));
  }

  /** @param {Follower} follower */
  #admitted(follower) {
    if (follower.counts) this.session.rejoining--;
    follower.counts = false;
    follower.wants = null;
  }
}

/** @param {string} tab @param {number} socket */
const key = (tab, socket) => `${tab}/${socket}`;
