/** Runs: a set of seqs, kept as its runs without a hole, two numbers each. */

export class Runs {
  /** @type {number[]} Ascending; no run touches the next. */
  #starts = [];
  /** @type {number[]} */
  #stops = [];

  /** How many runs there are. */
  get size() {
    return this.#starts.length;
  }

  /** @param {number} seq */
  has(seq) {
    const index = firstOver(this.#starts, seq) - 1;
    return index >= 0 && seq < this.#stops[index];
  }

  /**
   * Put the seqs from `start` to before `stop` in; some of them may be there already.
   * @param {number} start
   * @param {number} stop
   */
  add(start, stop) {
    if (start >= stop) return;
    // The runs that touch it become one with it.
    const first = firstOver(this.#stops, start - 1);
    const last = firstOver(this.#starts, stop);
    if (first < last) {
      start = Math.min(start, this.#starts[first]);
      stop = Math.max(stop, this.#stops[last - 1]);
    }
    this.#starts.splice(first, last - first, start);
    this.#stops.splice(first, last - first, stop);
  }

  /**
   * Forget the runs that end at `seq` or before.
   * @param {number} seq
   */
  dropTo(seq) {
    const dropped = firstOver(this.#stops, seq + 1);
    if (dropped) {
      this.#starts.splice(0, dropped);
      this.#stops.splice(0, dropped);
    }
  }

  clear() {
    this.#starts = [];
    this.#stops = [];
  }

  /** @returns {IterableIterator<[number, number]>} Each run: its first seq, and the one after it. */
  *[Symbol.iterator]() {
    for (let index = 0; index < this.#starts.length; index++) {
      yield [this.#starts[index], this.#stops[index]];
    }
  }
}

/**
 * The index of the first number that is larger.
 * @param {number[]} numbers Ascending.
 * @param {number} than
 */
function firstOver(numbers, than) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] <= than) low = middle + 1;
    else high = middle;
  }
  return low;
}
