/**
 * The replica: what a client has of a gathering, in order, each op once, and its own among them.
 *
 * Go by the seqs alone and a client can't tell, after a lost connection, which of the ops that it
 * missed are its own: a sync that was sent but not answered is *in doubt*. Until the server has
 * answered it (syncs are repeated with the same id, and answered again), what arrives is held back.
 */

import { Lost } from "./errors.js";
import { Fifo } from "./fifo.js";
import { syncOfEach } from "./syncs.js";

/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./changes.js").ChangeQueue} ChangeQueue */
/** @typedef {import("./errors.js").GatheringError} GatheringError */
/** @typedef {import("./syncs.js").Sync} Sync */
/** @typedef {import("./syncs.js").SyncRun} SyncRun */

/**
 * @typedef {object} Pending A sync that isn't answered.
 * @property {string} id
 * @property {number} base
 * @property {Op[]} ops
 * @property {string} text The ops as JSON: sent again, they are the same.
 * @property {boolean} mine Whether this tab submitted it, in this life of its page.
 * @property {string} tab Which tab did.
 * @property {string | null | undefined} user Who submitted it; undefined where that isn't known.
 * @property {number} at Its place in the order of all of this browser.
 * @property {boolean} sent
 * @property {boolean} inDoubt Whether it may have been applied without our being told.
 */

/** @typedef {{ start: number, stop: number, id: string, tab: string, mine: boolean }} Own */

/**
 * @typedef {object} Ops Ops as they came, or ours, applied under these seqs.
 * @property {"ops"} kind
 * @property {number} first
 * @property {Op[]} ops
 * @property {(string | null)[]} by
 * @property {number[]} times
 * @property {boolean[] | undefined} mine
 * @property {SyncRun[] | undefined} syncs
 * @property {string | undefined} epoch
 * @property {number} size
 */

/** @typedef {{ kind: "state", last: number, snapshot: any, epoch?: string }} State */
/** @typedef {{ kind: "applied", own: Own, ops: Op[], time: number, epoch?: string }} Applied */

/**
 * @typedef {object} Released An op that is in the state now, for whoever passes it on.
 * @property {number} seq
 * @property {Op} op
 * @property {string | null} by
 * @property {number} time
 * @property {Own | null} own Where it is of this browser.
 * @property {Sync | null} sync
 */

/** A gathering as one client knows it. Without a machine, it has ops but no state. */
export class Replica {
  /** Everything up to this seq has arrived. */
  seq = 0;
  /** @type {string | undefined} The epoch of the op `seq`, where it's known. */
  epoch = undefined;
  /** Everything up to this seq is in the state; the rest is held back. */
  shownSeq = 0;
  /** @type {string | undefined} */
  shownEpoch = undefined;
  /** @type {string | null} */
  user = null;
  role = "member";
  /** @type {Map<string, Pending>} Unanswered syncs, in the order in which they were submitted. */
  pending = new Map();
  /** @type {Map<string, number>} When each of them was, where that was on this page. */
  #submittedAt = new Map();
  /** @type {Fifo<Ops | Applied | State>} */
  #held = new Fifo();
  /** @type {Own[]} Our own seqs among what is held, or still to come; ascending. */
  #own = [];
  #doubts = 0;
  /** The time of the last op that the state has. */
  #time = 0;
  /** The last seq in the state that isn't known to be ours. */
  #others = 0;
  /** @type {{ state: any, seq: number } | null} What is shown, with what isn't answered. */
  #view = null;

  /**
   * @param {object} parts
   * @param {ChangeQueue} parts.changes
   * @param {import("./machine.js").Machine<any> | null} parts.machine
   * @param {boolean} parts.optimistic Whether the state shows what isn't answered.
   * @param {import("./serverclock.js").ServerClock} parts.clock
   * @param {(ops: Released[], epoch: string | undefined) => void} parts.released Is told of ops, in
   *   order, when they are in the state.
   * @param {() => void} parts.restored Is told that a state came instead of ops.
   */
  constructor({ changes, machine, optimistic, clock, released, restored }) {
    this.changes = changes;
    this.machine = machine;
    this.optimistic = optimistic;
    this.clock = clock;
    this.released = released;
    this.restored_ = restored;
  }

  /**
   * We are this to the server: what isn't answered is judged anew for the state shown.
   * @param {string | null} user
   * @param {string} role
   */
  identify(user, role) {
    if (user !== this.user || role !== this.role) this.#view = null;
    this.user = user;
    this.role = role;
  }

  // What arrives.

  /**
   * A state came instead of ops. Throws `Diverged`.
   * @param {number} seq
   * @param {any} snapshot
   * @param {string | undefined} epoch
   */
  restored(seq, snapshot, epoch) {
    if (seq > this.seq || (seq === 0 && !this.seq)) {
      this.seq = seq;
      this.epoch = epoch;
      this.#held.push({ kind: "state", last: seq, snapshot, epoch });
      this.#release();
    }
  }

  /**
   * Take in ops from `first` on; false if they were all there. Throws `Lost` where some are missing
   * before them.
   * @param {number} first
   * @param {{ ops: Op[], by: (string | null)[], times?: number[], mine?: boolean[],
   *   syncs?: SyncRun[] }} page
   * @param {string | undefined} epoch The last one's.
   */
  arrived(first, { ops, by, times, mine, syncs }, epoch) {
    if (first > this.seq + 1) throw new Lost(`op ${first} came after ${this.seq}`);
    const last = times?.at(-1);
    if (last) this.clock.heard(last);
    const known = this.seq + 1 - first;
    if (known >= ops.length) return false;
    this.#held.push({
      kind: "ops",
      first: this.seq + 1,
      ops: ops.slice(known),
      by: by.slice(known),
      times: times?.slice(known) ?? [],
      mine: mine?.slice(known),
      syncs,
      epoch,
      size: JSON.stringify(ops[known]).length,
    });
    this.seq = first + ops.length - 1;
    this.epoch = epoch;
    this.#release();
    return true;
  }

  /**
   * Begin after `seq`, without what was before: only where there's no state of it.
   * @param {number} seq
   * @param {string | undefined} epoch
   */
  skipTo(seq, epoch) {
    this.seq = this.shownSeq = seq;
    this.epoch = this.shownEpoch = epoch;
  }

  /** Forget everything but what we submitted: the server will give its state. */
  startOver() {
    this.skipTo(0, undefined);
    this.#held.clear();
    this.machine?.startOver();
    this.#view = null;
    this.#others = this.#time = 0;
  }

  /**
   * The log is another one: start over, and tell the reader. What isn't answered may be new to that
   * log; it is based on nothing that is in it.
   * @param {GatheringError} why
   */
  replaced(why) {
    this.startOver();
    this.#own = [];
    this.changes.startOver(why);
    for (const pending of this.pending.values()) pending.base = 0;
  }

  // What is submitted.

  /**
   * Take a sync; the caller sends it, and sends it again after `lost`.
   * @param {Pending} pending
   */
  submit(pending) {
    const shown = this.pending.size ? this.#view : null;
    this.pending.set(pending.id, pending);
    if (pending.inDoubt) this.#doubts++;
    else this.#submittedAt.set(pending.id, this.clock.steady());
    this.#view = shown && this.machine ? this.#suppose(this.machine, shown, pending) : null;
  }

  /**
   * The server applied a sync; false if it isn't pending. Throws `Diverged`.
   *
   * Where this answer stands for its ops, they don't come as such when all before them have;
   * otherwise they do.
   * @param {string} id
   * @param {number[]} seqs
   * @param {{ ops: Op[], epoch: string | undefined, time: number, standsForOps: boolean }} answer
   */
  synced(id, seqs, { ops, epoch, time, standsForOps }) {
    const submittedAt = this.#submittedAt.get(id);
    const pending = this.#noLongerPending(id);
    if (!pending) return false;
    if (time && submittedAt !== undefined) this.clock.answered(time, submittedAt);
    const { mine, tab } = pending;
    const own = { start: seqs[0], stop: seqs[0] + seqs.length, id, tab, mine };
    this.#addOwn(own);
    if (standsForOps && own.start === this.seq + 1) {
      // Those before it were forwarded before; it itself won't be.
      this.#held.push({ kind: "applied", own, ops, time, epoch });
      this.seq = own.stop - 1;
      this.epoch = epoch;
    }
    this.#release();
    return true;
  }

  /**
   * The server refused a sync for good, or it was withdrawn unsent; false if it isn't pending.
   * @param {string} id
   */
  failed(id) {
    if (!this.#noLongerPending(id)) return false;
    this.#release();
    return true;
  }

  /** The connection was lost: what was sent and not answered may have been applied. */
  lost() {
    this.doubt();
    for (const pending of this.pending.values()) pending.sent = false;
  }

  /** What arrives now may have ops of ours in it of which we aren't told yet. */
  doubt() {
    this.#doubt((pending) => pending.sent);
  }

  /** Another tab, which reads what is kept, may have sent what we didn't. */
  doubtAll() {
    this.#doubt(() => true);
  }

  /** @param {(pending: Pending) => boolean} isDoubtful */
  #doubt(isDoubtful) {
    for (const pending of this.pending.values()) {
      if (isDoubtful(pending) && !pending.inDoubt) {
        pending.inDoubt = true;
        this.#doubts++;
      }
    }
  }

  /** @param {string} id */
  #noLongerPending(id) {
    const pending = this.pending.get(id);
    if (pending) {
      this.pending.delete(id);
      this.#submittedAt.delete(id);
      if (pending.inDoubt) this.#doubts--;
      this.#view = null;
    }
    return pending;
  }

  /** @param {Own} own */
  #addOwn(own) {
    let index = this.#own.length;
    while (index && this.#own[index - 1].start > own.start) index--;
    this.#own.splice(index, 0, own);
  }

  // What is shown.

  /** The state, with what isn't answered if it's optimistic; undefined without a machine. */
  get state() {
    if (!this.machine) return undefined;
    if (!this.optimistic || !this.pending.size) return this.machine.state;
    if (!this.#view) {
      this.#view = { state: this.machine.state, seq: this.shownSeq };
      for (const pending of this.pending.values()) {
        this.#view = this.#suppose(this.machine, this.#view, pending);
      }
    }
    return this.#view.state;
  }

  /**
   * @param {import("./machine.js").Machine<any>} machine
   * @param {{ state: any, seq: number }} view
   * @param {Pending} pending
   */
  #suppose(machine, view, pending) {
    const { user, role } = this;
    const { seq } = view;
    // A client that lacks only its own ops isn't behind.
    const base = this.#others <= pending.base ? seq : pending.base;
    const time = Math.max(this.#time, this.clock.now());
    const next = machine.suppose(view.state, pending, { user, role, base, seq, time });
    return { state: next.state, seq: seq + next.count };
  }

  // Letting go what is held.

  #release() {
    if (this.#doubts) return;
    for (let held = this.#held.shift(); held; held = this.#held.shift()) {
      this.#view = null;
      this.shownEpoch = held.epoch;
      if (held.kind === "state") this.#restore(held);
      else if (held.kind === "applied") this.#apply(held);
      else this.#show(held);
    }
    this.#dropOwnTo(this.seq);
  }

  /** @param {State} held */
  #restore({ last, snapshot }) {
    this.shownSeq = last;
    this.machine?.restore(snapshot);
    this.#others = last;
    this.changes.skipTo(last);
    for (const own of this.#own) {
      if (own.start > last) break;
      if (own.mine) this.changes.passOver(own.start, Math.min(own.stop, last + 1));
    }
    this.#dropOwnTo(last);
    this.restored_();
  }

  /** @param {Applied} held */
  #apply({ own, ops, time, epoch }) {
    const { user: by } = this;
    const sync = { first: own.start, count: own.stop - own.start, id: own.id };
    const released = ops.map((op, index) => {
      return { seq: own.start + index, op, by, time, own, sync };
    });
    this.#fold(released);
    if (own.mine) this.changes.passOver(own.start, own.stop);
    else this.#tell(released, () => true, JSON.stringify(ops[0]).length);
    this.#dropOwnTo(own.stop - 1);
    this.released(released, epoch);
  }

  /** @param {Ops} held */
  #show({ first, ops, by, times, mine, syncs, epoch, size }) {
    const syncOf = syncOfEach(first, ops.length, syncs);
    let next = 0;
    const released = ops.map((op, index) => {
      const seq = first + index;
      while (next < this.#own.length && this.#own[next].stop <= seq) next++;
      const own = next < this.#own.length && this.#own[next].start <= seq ? this.#own[next] : null;
      return { seq, op, by: by[index], time: times[index] ?? 0, own, sync: syncOf[index] };
    });
    this.#fold(released);
    for (const { seq, own } of released) if (!own) this.#others = seq;
    this.#tell(released, (index) => mine?.[index] ?? false, size);
    this.#dropOwnTo(first + ops.length - 1);
    this.released(released, epoch);
  }

  /** @param {Released[]} released */
  #fold(released) {
    for (const { seq, op, by, time } of released) {
      this.machine?.fold(op, { seq, time, by });
      this.shownSeq = seq;
      this.#time = time;
    }
  }

  /**
   * @param {Released[]} released
   * @param {(index: number) => boolean} ofBrowser
   * @param {number} size
   */
  #tell(released, ofBrowser, size) {
    released.forEach(({ seq, op, by, time, own, sync }, index) => {
      const mine = own !== null || ofBrowser(index);
      if (own?.mine) this.changes.passOver(seq, seq + 1);
      else this.changes.add({ seq, by, op, time, mine, sync }, size);
    });
  }

  /** @param {number} seq */
  #dropOwnTo(seq) {
    let count = 0;
    while (count < this.#own.length && this.#own[count].stop <= seq + 1) count++;
    this.#own.splice(0, count);
  }
}
