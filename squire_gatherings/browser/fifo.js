/** A queue whose both ends cost the same, however long it is. */

/** @template T */
export class Fifo {
  /** @type {(T | undefined)[]} */
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  /** @returns {T | undefined} The next one; it stays. */
  get first() {
    return this.#items[this.#head];
  }

  /** @returns {T | undefined} */
  get last() {
    return this.length ? this.#items[this.#items.length - 1] : undefined;
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
  }

  /** @param {T[]} items */
  putFirst(items) {
    this.#items = [...items, ...this.#items.slice(this.#head)];
    this.#head = 0;
  }

  /** @returns {T | undefined} */
  shift() {
    if (!this.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head > this.#items.length / 2) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear() {
    this.#items = [];
    this.#head = 0;
  }
}
