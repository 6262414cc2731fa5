/**
 * Back-off: pauses that grow, each a random part of the longest that it may be, so that clients
 * that were lost together don't come back together ("full jitter": Brooker, Exponential Backoff And
 * Jitter, 2015).
 */

export class Backoff {
  #attempts = 0;

  /**
   * @param {number} first The longest pause before the first new attempt; doubles.
   * @param {number} longest
   * @param {() => number} random
   */
  constructor(first, longest, random) {
    this.first = first;
    this.longest = longest;
    this.random = random;
  }

  /** The next pause, in milliseconds. */
  next() {
    const most = Math.min(this.first * 2 ** Math.min(this.#attempts, 40), this.longest);
    this.#attempts++;
    return this.random() * most;
  }

  /** Something went well: pauses are short again. */
  reset() {
    this.#attempts = 0;
  }
}
