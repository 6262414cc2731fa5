/**
 * The server's clock, as a client knows it: its own, unless what the server said contradicts it.
 *
 * The server tells when ops were logged. What arrives was logged before, so the server's clock shows
 * at least that by now. What we have submitted was logged after that, so it showed at most that then.
 */

export class ServerClock {
  /** The server's time of day less our steady clock's is at least this, in milliseconds, */
  #least = -Infinity;
  /** and at most this. */
  #most = Infinity;

  /**
   * @param {() => number} wallTime Our time of day, in milliseconds since 1970.
   * @param {() => number} steady Milliseconds by a clock that is never set.
   */
  constructor(wallTime, steady) {
    this.wallTime = wallTime;
    this.steady = steady;
  }

  /** The server's time of day, in milliseconds since 1970, as far as it's known. */
  now() {
    const steady = this.steady();
    const ahead = Math.min(Math.max(this.wallTime() - steady, this.#least), this.#most);
    // What was a whole millisecond must not become one less by the sums.
    return Math.floor(steady + ahead + 1e-3);
  }

  /**
   * Something has come that was logged then.
   * @param {number} time
   */
  heard(time) {
    this.#least = Math.max(this.#least, time - this.steady());
    // The server's clock was set since.
    if (this.#least > this.#most) this.#most = Infinity;
  }

  /**
   * What we submitted at an instant of the steady clock was logged then.
   * @param {number} time
   * @param {number} submittedAt
   */
  answered(time, submittedAt) {
    this.heard(time);
    // It is told in whole milliseconds, rounded down.
    this.#most = Math.min(this.#most, time + 1 - submittedAt);
    if (this.#most < this.#least) this.#least = -Infinity;
  }
}
