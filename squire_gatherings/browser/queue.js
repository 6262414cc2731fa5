/** The queue: which request goes out next, and when; by their ids, told the time. */

import { Fifo } from "./fifo.js";

/** @typedef {import("./pace.js").Pace} Pace */

/**
 * The requests of one client, from when they are put in until they are answered.
 *
 * They go out in order and at once, but for four reasons: the server couldn't take one (it's
 * repeated after a while), says that they're too many (they're paced), takes none until our rights
 * are renewed (they're held), or has refused one without saying which (then they go out one at a
 * time, so that its next refusal is clear).
 */
export class Queue {
  /** @type {Set<string>} Those that went out on this connection and aren't answered, in order. */
  sent = new Set();
  /** @type {Fifo<string>} */
  #waiting = new Fifo();
  /** @type {string[]} Those that go out again at `#repeatAt`. */
  #postponed = [];
  #repeatAt = Infinity;
  /** Whether nothing goes out until the server lets it. */
  #isHeld = false;
  /** @type {Set<string>} An error didn't say which of these it was about. */
  #suspects = new Set();

  /**
   * @param {Pace} pace
   * @param {number} repeatInterval In milliseconds.
   */
  constructor(pace, repeatInterval) {
    this.pace = pace;
    this.repeatInterval = repeatInterval;
  }

  /** These are to go out. @param {Iterable<string>} ids */
  put(ids) {
    for (const id of ids) this.#waiting.push(id);
  }

  /** The connection is lost: nothing went out that counts. The suspects stay. */
  clear() {
    this.#waiting.clear();
    this.#postponed = [];
    this.sent.clear();
    this.#repeatAt = Infinity;
    this.#isHeld = false;
  }

  /**
   * What may go out now, if anything; it counts as `sent` once it `went`.
   * @param {number} now
   * @returns {string | null}
   */
  pop(now) {
    if (this.#isHeld) return null;
    if (now >= this.#repeatAt) {
      this.#repeatAt = Infinity;
      this.#waiting.putFirst(this.#postponed);
      this.#postponed = [];
    }
    while (this.#waiting.length && !this.#mustWait && now >= this.pace.nextAt) {
      const id = /** @type {string} */ (this.#waiting.shift());
      if (!this.sent.has(id)) return id;
    }
    return null;
  }

  /** This goes out. @param {string} id @param {number} now */
  went(id, now) {
    this.sent.add(id);
    this.pace.sent(now);
  }

  /** When something may go out, if nothing happens before. */
  get nextAt() {
    if (this.#isHeld) return Infinity;
    if (this.#waiting.length && !this.#mustWait) return Math.min(this.#repeatAt, this.pace.nextAt);
    return this.#repeatAt;
  }

  /**
   * The server couldn't take these: they go out again, after a while.
   * @param {Iterable<string>} ids
   * @param {number} now
   */
  repeat(ids, now) {
    for (const id of ids) {
      this.sent.delete(id);
      this.#postponed.push(id);
    }
    this.#repeatAt = Math.min(this.#repeatAt, now + this.repeatInterval);
  }

  /** The server takes none until it says so. @param {Iterable<string>} ids @param {number} now */
  hold(ids, now) {
    this.#isHeld = true;
    this.repeat(ids, now);
  }

  /** The server takes requests again. @param {number} now */
  goOn(now) {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#repeatAt = now;
  }

  /**
   * One of these was refused: each goes out again, alone.
   * @param {string[]} ids
   * @param {number} now
   */
  suspect(ids, now) {
    for (const id of ids) this.#suspects.add(id);
    this.repeat(ids, now);
  }

  /** This was answered. @param {string} id */
  done(id) {
    this.pace.answered();
    this.forget(id);
  }

  /** Nobody wants this any more. @param {string} id */
  forget(id) {
    this.sent.delete(id);
    this.#suspects.delete(id);
  }

  get #mustWait() {
    // Other errors that were under way come before one goes out alone.
    return this.#suspects.size > 0 && (this.sent.size > 0 || this.#postponed.length > 0);
  }
}
