/** Pace: how fast requests go out. As fast as they can, until the server says it's too fast. */

const FIRST = 125;
const SHORTEST = 1;

/** The interval between two requests: doubled by a refusal, a tenth shorter by an answer. */
export class Pace {
  interval = 0;
  /** When the next request may go out. */
  nextAt = -Infinity;
  #calmUntil = -Infinity;

  /**
   * @param {number} longest The longest interval, in milliseconds.
   * @param {number} calm For how long after a refusal more of them mean the same: they were under
   *   way already.
   */
  constructor(longest, calm) {
    this.longest = longest;
    this.calm = calm;
  }

  /** The server says that it's too much. @param {number} now */
  slower(now) {
    if (now < this.#calmUntil) return;
    this.interval = Math.min(Math.max(2 * this.interval, FIRST), this.longest);
    this.#calmUntil = now + Math.max(this.calm, 2 * this.interval);
    this.nextAt = Math.max(this.nextAt, now + this.interval);
  }

  /** The server has taken a request. */
  answered() {
    this.interval *= 0.9;
    if (this.interval < SHORTEST) this.interval = 0;
  }

  /** A request goes out. @param {number} now */
  sent(now) {
    if (this.interval) this.nextAt = now + this.interval;
  }
}
