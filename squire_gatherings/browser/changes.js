/**
 * The change queue: keeps what others did in a gathering until a reader takes it, one by one.
 *
 * It is bounded. What doesn't fit isn't kept, and must be fetched once the reader gets there. But
 * nobody can fetch which of these ops are the reader's own. So two numbers are kept for each run of
 * its own ops, also if the reader never comes.
 */

import { Fifo } from "./fifo.js";
import { Runs } from "./runs.js";
import { syncOfEach } from "./syncs.js";

/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./errors.js").GatheringError} GatheringError */
/** @typedef {import("./syncs.js").Sync} Sync */

/**
 * @typedef {object} Change An op that somebody else submitted.
 * @property {number} seq
 * @property {string | null} by Null for somebody anonymous.
 * @property {Op} op
 * @property {number} time When it was committed, in milliseconds since 1970; 0 if that isn't known.
 * @property {boolean} mine Whether it is from this browser: another tab's, or from before a reload.
 * @property {Sync | null} sync What it was submitted in, which names the other ops of that; null if
 *   that isn't known, or wasn't asked for.
 */

/**
 * @typedef {object} Dispersed Why, and when, a gathering ended.
 * @property {string} reason `idle`, `empty`, `unjoined`, `alone`, `max_age`, `ends_at`, `admin`...
 * @property {number} seq Its last op.
 * @property {number} idleFor For how many milliseconds nothing had happened.
 */

/**
 * @typedef {{ change: Change } | { dispersed: Dispersed } | { replaced: GatheringError }
 *   | { missing: number }} Taken
 */

/** About how many bytes of memory a change takes at least. */
const COST = 200;

/** The changes that a reader hasn't taken yet, and the dispersals between them. */
export class ChangeQueue {
  /** The reader has passed everything up to this seq. */
  position = 0;
  /** Everything up to this seq was handed in, kept or not. */
  arrived = 0;
  /** @type {Fifo<Change & { size: number }>} */
  #kept = new Fifo();
  #size = 0;
  /** Whether something between what is kept and `arrived` isn't kept. */
  #behind = false;
  /** The seqs of the reader's own ops that it may still meet. */
  #own = new Runs();
  /** @type {{ after: number, dispersed: Dispersed }[]} */
  #ends = [];
  /** @type {GatheringError | null} What the reader is told before anything else. */
  #replaced = null;

  /**
   * @param {number} maxSize How many bytes of changes are kept, about.
   * @param {(change: Change) => void} [added] Is told of each that arrives.
   */
  constructor(maxSize, added) {
    this.maxSize = maxSize;
    this.added = added;
  }

  /**
   * Begin with what follows `position`; nothing of it is kept up to `arrived`.
   * @param {number} position
   * @param {number} arrived
   */
  begin(position, arrived) {
    this.position = position;
    this.arrived = Math.max(position, arrived);
    this.#behind = position < arrived;
  }

  /**
   * Drop what the reader hasn't taken: another log replaced the one it came from. The reader is
   * told `why`, once, and goes on with the first op of the new log.
   * @param {GatheringError} why
   */
  startOver(why) {
    this.#kept.clear();
    this.#ends = [];
    this.#own.clear();
    this.#size = 0;
    this.#replaced = why;
    this.begin(0, 0);
  }

  /**
   * Note that somebody else's op has arrived.
   * @param {Change} change
   * @param {number} size
   */
  add(change, size) {
    if (change.seq <= this.arrived) return;
    this.arrived = change.seq;
    this.added?.(change);
    if (this.#behind || (this.#kept.length && this.#isFull(size))) this.#behind = true;
    else this.#keep(change, size);
  }

  /**
   * Note that these ops, up to before `stop`, are the reader's own.
   * @param {number} start
   * @param {number} stop
   */
  passOver(start, stop) {
    this.#own.add(Math.max(start, this.position + 1), stop);
    this.arrived = Math.max(this.arrived, stop - 1);
  }

  /**
   * Note that everything up to `seq` came as a state, not as ops.
   * @param {number} seq
   */
  skipTo(seq) {
    if (seq > this.arrived) {
      this.arrived = seq;
      this.#behind = true;
    }
  }

  /**
   * Note that the gathering dispersed after what has arrived by now.
   * @param {Dispersed} dispersed
   */
  end(dispersed) {
    this.#ends.push({ after: this.arrived, dispersed });
  }

  /**
   * Hand in the ops from `first` on that were fetched for what was missing. Ops beyond `arrived`
   * are left out, since nobody knows yet whether they are the reader's own.
   * @param {number} first
   * @param {Op[]} ops
   * @param {(string | null)[]} by
   * @param {number[]} [times]
   * @param {import("./syncs.js").SyncRun[]} [syncs]
   */
  refill(first, ops, by, times, syncs) {
    const syncOf = syncOfEach(first, ops.length, syncs);
    let last = this.#kept.last?.seq ?? this.position;
    ops.forEach((op, index) => {
      const seq = first + index;
      if (seq <= last || seq > this.arrived) return;
      last = seq;
      const sync = syncOf[index];
      const change = { seq, by: by[index], op, time: times?.[index] ?? 0, mine: false, sync };
      if (!this.#own.has(seq)) this.#keep(change, COST);
    });
    // Perhaps everything on the page was the reader's own.
    if (!this.#kept.length) this.#pass(last);
    if (last >= this.arrived) this.#behind = false;
  }

  /**
   * What comes next for the reader; null if it must wait.
   * @returns {Taken | null}
   */
  take() {
    if (this.#replaced) {
      const replaced = this.#replaced;
      this.#replaced = null;
      return { replaced };
    }
    if (this.#ends.length && this.#nextSeq() > this.#ends[0].after) {
      const [{ dispersed }] = this.#ends.splice(0, 1);
      return { dispersed };
    }
    const kept = this.#kept.shift();
    if (kept) {
      const { size, ...change } = kept;
      this.#size -= size;
      this.#pass(change.seq);
      return { change };
    }
    if (this.#behind) return { missing: this.position };
    this.#pass(this.arrived);
    return null;
  }

  /** A seq before which the reader meets nothing more. */
  #nextSeq() {
    const kept = this.#kept.first;
    if (kept) return kept.seq;
    return (this.#behind ? this.position : this.arrived) + 1;
  }

  /** @param {number} size */
  #isFull(size) {
    // Small ops cost memory, too.
    return Math.max(this.#size, this.#kept.length * COST) + size > this.maxSize;
  }

  /**
   * @param {Change} change
   * @param {number} size
   */
  #keep(change, size) {
    this.#kept.push({ ...change, size });
    this.#size += size;
  }

  /** @param {number} seq */
  #pass(seq) {
    this.position = Math.max(this.position, seq);
    this.#own.dropTo(this.position);
  }
}
