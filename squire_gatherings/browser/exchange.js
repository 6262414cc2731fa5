/**
 * The exchange: what a client and a gathering say to each other, on any number of connections. It
 * is told the time, and does no I/O.
 */

import { GatheringError, Lost } from "./errors.js";
import { CloseCode, FIXED } from "./protocol.js";

/** @typedef {import("./protocol.js").Incoming} Incoming */
/** @typedef {import("./protocol.js").Joined} Joined */
/** @typedef {import("./protocol.js").Synced} Synced */
/** @typedef {import("./protocol.js").Conflict} Conflict */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Forward} Forward */
/** @typedef {import("./protocol.js").Proof} Proof */
/** @typedef {import("./protocol.js").EndingMessage} EndingMessage */
/** @typedef {import("./protocol.js").Refreshed} Refreshed */
/** @typedef {import("./replica.js").Pending} Pending */
/** @typedef {import("./replica.js").Replica} Replica */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./renewal.js").Renewal} Renewal */
/** @typedef {import("./presence.js").Presence} Presence */

/** @typedef {{ rule: string, at: number }} Ending By which rule, and when by our clock. */

export class Exchange {
  /** @type {string | null} The gathering's incarnation that we were in last. */
  incarnation = null;
  /** When the gathering disperses unless something happens that we don't hear of. */
  expiresAt = Infinity;
  /** @type {Ending | null} The end that the server has warned of, while it stands. */
  ending = null;
  /** Whether this connection was good for something. */
  progressed = false;
  /** Whether the server has let us in once. */
  began = false;
  /** @type {Proof | null} What we were told last that proves the log. */
  #known = null;
  /** The log's end when we joined on this connection. */
  joinedSeq = 0;
  /** When it ends whatever is said. */
  #endsAt = Infinity;
  #idleTimeout = Infinity;
  #ackAt = Infinity;

  /** How long the server asks us to wait before we acknowledge. */
  #leastAckDelay = 0;

  /**
   * @param {object} parts
   * @param {string} parts.gathering
   * @param {Replica} parts.replica
   * @param {Requests} parts.requests
   * @param {Renewal} parts.renewal
   * @param {Presence} parts.presence
   * @param {boolean} parts.syncs Whether it is asked which syncs ops came from.
   * @param {number | null} parts.since The seq after which changes are wanted; null: from the first
   *   join on.
   * @param {() => number} parts.ackDelay For how long an ack may wait for more.
   */
  constructor({ gathering, replica, requests, renewal, presence, syncs, since, ackDelay }) {
    this.gathering = gathering;
    this.replica = replica;
    this.requests = requests;
    this.renewal = renewal;
    this.presence = presence;
    this.syncs = syncs;
    this.since = since;
    this.ackDelay = ackDelay;
  }

  /** Whether the connection is up, and the server has let us in. */
  get connected() {
    return this.requests.isOpen;
  }

  /** Whether we know any op of this log. */
  get hasAnything() {
    return this.replica.seq > 0 || this.replica.changes.arrived > 0;
  }

  /** Whether what was before the first join is of no interest. */
  get #wantsTail() {
    return !this.began && this.since === null && !this.replica.machine;
  }

  // Connections begin and end.

  /**
   * What says who we are and what we have, for a join.
   * @param {string} client
   * @param {string | null} token
   * @param {string | null} resume The incarnation to which we come back by ourselves.
   */
  join(client, token, resume) {
    const since = this.replica.seq;
    return {
      type: "join",
      ...(token !== null && { token }),
      ...(since && { since }),
      client,
      ...(since && this.replica.epoch && { epoch: this.replica.epoch }),
      ...(resume !== null && { resume }),
      ...(this.#wantsTail && { tail: true }),
      times: true,
      ...(this.syncs && { syncs: true }),
      ...this.presence.wish(),
      proof: true,
      ...(since && this.#known && { known: this.#known }),
    };
  }

  /**
   * The server let us in, who had everything up to `since`. Throws `Lost`, `Diverged`, and
   * `GatheringError` where the changes that are wanted first don't exist yet.
   * @param {Joined} joined
   * @param {number} since
   * @param {number} now
   */
  joined(joined, since, now) {
    const { replica } = this;
    const has = this.began ? Math.max(since, replica.changes.arrived) : 0;
    checkJoined(joined, this.gathering, since, has);
    this.#refuseOthers(joined.user);
    replica.identify(joined.user, joined.role);
    this.renewal.begin(joined.rights_expire_in, now);
    this.incarnation = joined.incarnation;
    const epoch = this.#epoch(joined);
    this.joinedSeq = joined.seq;
    this.#noteProof(joined);
    const skips = this.#wantsTail && !joined.ops?.length;
    if (!this.began) {
      const position = this.since ?? joined.seq;
      if (position > joined.seq) {
        throw new GatheringError("bad_base", `since is ${position}, the last op ${joined.seq}`);
      }
      replica.changes.begin(position, position);
      this.began = true;
    }
    const first = joined.first_seq ?? since + 1;
    if (first > since + 1) replica.skipTo(first - 1, epoch);
    if (skips) replica.skipTo(joined.seq, epoch);
    else if (joined.ops && joined.by) {
      replica.arrived(first, { ...joined, ops: joined.ops, by: joined.by }, epoch);
    } else replica.restored(joined.seq, joined.snapshot, epoch);
    this.#idleTimeout = joined.idle_timeout === null ? Infinity : joined.idle_timeout * 1000;
    this.expiresAt = joined.expires_in === null ? Infinity : now + joined.expires_in * 1000;
    this.#endsAt = joined.ends_in === undefined ? Infinity : now + joined.ends_in * 1000;
    this.#leastAckDelay = (joined.ack_delay ?? 0) * 1000;
    // Where one is near, the server says so again.
    this.ending = null;
    this.requests.begin(joined.max_ops ?? null, joined.seq);
    this.presence.joined(now);
    // A page that came with the answer is kept, should the wire bring no more.
    this.progressed = (joined.ops?.length ?? 0) > 0;
  }

  /** The connection has ended, with that close code. @param {number | null} code @param {number} now */
  lost(code, now) {
    this.requests.lost(code, now);
    this.renewal.lost();
    this.presence.lost();
    this.ending = null;
    this.#ackAt = Infinity;
  }

  /** The log is another one than we know: begin again, from its first op. @param {GatheringError} why */
  replaced(why) {
    this.replica.replaced(why);
    this.#known = null;
    this.requests.startOver();
  }

  /** What somebody else submitted isn't sent in this user's name. @param {string | null} user */
  #refuseOthers(user) {
    for (const pending of [...this.replica.pending.values()]) {
      if (pending.user === undefined) pending.user = user;
      if (pending.user === user) continue;
      if (!pending.mine) this.requests.setAside(pending.id);
      else {
        const text = `it was submitted as ${pending.user ?? "nobody"}`;
        this.requests.refused(pending.id, new GatheringError("forbidden", text));
      }
    }
  }

  // What goes out.

  /**
   * The next message that may go out, as JSON, if there's one.
   * @param {number} now
   * @returns {string | null}
   */
  next(now) {
    if (this.#ackAt <= now) {
      this.#ackAt = Infinity;
      this.#used(now);
      return JSON.stringify({ type: "ack", seq: this.replica.seq });
    }
    return this.renewal.next() ?? this.presence.next(now) ?? this.requests.next(now);
  }

  /** When something may go out, if nothing happens before. */
  get nextAt() {
    return Math.min(this.#ackAt, this.presence.nextAt, this.requests.queue.nextAt);
  }

  #ackDelay() {
    const delay = this.ackDelay();
    return delay && Math.max(delay, this.#leastAckDelay);
  }

  /** What came is acknowledged now: perhaps no timer fires soon. */
  hurryAck() {
    if (this.#ackAt < Infinity) this.#ackAt = -Infinity;
  }

  // What comes in.

  /** Take in a message. Throws `Lost`, `Diverged`. @param {Incoming} message @param {number} now */
  take(message, now) {
    switch (message.type) {
      case "forward":
        this.#arrived(message.seq, message, now);
        this.#ackAt = Math.min(this.#ackAt, now + this.#ackDelay());
        break;
      case "synced":
        this.#synced(message, now);
        break;
      case "conflict":
        this.#conflict(message, now);
        break;
      case "fetched":
        this.#fetched(message, now);
        break;
      case "refreshed":
        this.#refreshed(message, now);
        break;
      case "renew":
        this.renewal.want();
        break;
      case "ending":
        this.#ending(message, now);
        break;
      case "presence":
        this.presence.take(message);
        break;
      case "error":
        if (this.renewal.failed(message, now)) break;
        if (this.presence.failed(message, now)) break;
        this.requests.failed(message, now);
        if (message.code === "unauthorized") this.renewal.want();
        break;
    }
  }

  /** @param {{ epoch?: string }} message */
  #epoch(message) {
    return message.epoch ?? this.incarnation ?? undefined;
  }

  /** @param {{ proof?: Proof }} message */
  #noteProof({ proof }) {
    if (proof && (!this.#known || proof.seq >= this.#known.seq)) this.#known = proof;
  }

  /** @param {number} first @param {Forward | Conflict} page @param {number} now */
  #arrived(first, page, now) {
    if (this.replica.arrived(first, page, this.#epoch(page))) this.#movedOn(now);
  }

  /** @param {number} now */
  #movedOn(now) {
    this.progressed = true;
    this.#used(now);
  }

  /** Note that something was done that keeps the gathering alive. @param {number} now */
  #used(now) {
    this.expiresAt = Math.min(now + this.#idleTimeout, this.#endsAt);
  }

  /** @param {Synced} synced @param {number} now */
  #synced(synced, now) {
    const { id, seqs, time = 0 } = synced;
    const pending = this.replica.pending.get(id);
    if (!pending) return;
    if (seqs.length !== pending.ops.length) {
      throw new Lost(`the server gave ${seqs.length} seqs to ${pending.ops.length} ops`);
    }
    this.#movedOn(now);
    this.requests.synced(pending, seqs);
    const ops = synced.ops ?? pending.ops;
    // What was logged before we joined comes as ops, ours as well.
    const standsForOps = seqs[seqs.length - 1] > this.joinedSeq;
    const epoch = this.#epoch(synced);
    this.replica.synced(id, seqs, { ops, epoch, time, standsForOps });
  }

  /** @param {Conflict} conflict @param {number} now */
  #conflict(conflict, now) {
    const { replica } = this;
    const pending = replica.pending.get(conflict.id);
    if (!pending) return;
    const end = pending.base + conflict.ops.length;
    if (end > conflict.seq) {
      throw new Lost(`the server sent ops from ${pending.base} to ${end}, of ${conflict.seq}`);
    }
    // It may overtake the answers to others of ours.
    if (end > replica.seq && conflict.by.includes(replica.user)) replica.doubt();
    this.#arrived(pending.base + 1, conflict, now);
    const why = conflict.message ?? "others were faster, and it can't be merged";
    this.requests.refused(conflict.id, new GatheringError("conflict", why));
  }

  /** @param {Fetched} fetched @param {number} now */
  #fetched(fetched, now) {
    if (this.requests.looks.has(fetched.id)) {
      this.requests.looked(fetched);
      return;
    }
    const fetch = this.requests.fetchOf(fetched.id);
    if (!fetch) return;
    let since = fetch.since ?? 0;
    if (fetched.first_seq !== undefined) since = Math.max(since, fetched.first_seq - 1);
    const { ops, by } = fetched;
    if (!ops || !by) throw new Lost("the server gave a snapshot where ops were asked for");
    if (!ops.length || since + ops.length > fetched.seq) {
      throw new Lost(`the server gave ${ops.length} ops after ${since}, of ${fetched.seq}`);
    }
    this.requests.fetched(fetch);
    this.#noteProof(fetched);
    this.replica.changes.refill(since + 1, ops, by, fetched.times, fetched.syncs);
    this.#movedOn(now);
  }

  /** @param {Refreshed} refreshed @param {number} now */
  #refreshed(refreshed, now) {
    this.replica.identify(this.replica.user, refreshed.role);
    this.renewal.told(refreshed, now);
    if (!this.renewal.hasEnded(now)) this.requests.queue.goOn(now);
  }

  /** @param {EndingMessage} message @param {number} now */
  #ending({ rule, expires_in: seconds }, now) {
    if (seconds !== null) {
      this.expiresAt = now + seconds * 1000;
      this.ending = { rule, at: this.expiresAt };
    } else {
      if (FIXED.has(rule)) this.#endsAt = Infinity;
      this.#used(now);
      this.ending = null;
    }
  }
}

/**
 * Check what the server says when it lets us in. Throws `Lost`.
 * @param {Joined} joined
 * @param {string} gathering
 * @param {number} since
 * @param {number} has The seq up to which the log must go, since we have been told so much of it.
 */
function checkJoined(joined, gathering, since, has) {
  if (joined.gathering !== gathering) throw new Lost("the server let us into another gathering");
  if (joined.seq < has) {
    throw new Lost(`its last op is ${joined.seq}, and we have more`, CloseCode.LOG_REPLACED);
  }
  const first = joined.first_seq ?? since + 1;
  if (first <= since || first > joined.seq + 1) throw new Lost(`its log begins at ${first}`);
  const end = first - 1 + (joined.ops?.length ?? 0);
  if (end > joined.seq) throw new Lost(`its last op is ${joined.seq}, but there is ${end}`);
}
