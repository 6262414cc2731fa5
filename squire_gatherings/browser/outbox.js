/**
 * The outbox: what isn't answered, as it is kept beyond the page; and the client's id. A storage
 * that fails is no reason to lose what is in memory.
 */

import { randomId } from "./protocol.js";

/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./storage.js").Kept} Kept */
/** @typedef {import("./replica.js").Pending} Pending */

export class Outbox {
  /** @type {string} */
  client;
  /** @type {Set<Promise<void>>} What is being written. */
  #writing = new Set();
  #last = 0;

  /**
   * @param {object} parts
   * @param {Storage} parts.storage
   * @param {string} parts.room
   * @param {string} parts.tab
   * @param {string | null} parts.client The program's own choice, if it has made one.
   * @param {() => number} parts.wallTime
   * @param {(error: unknown) => void} parts.warn
   */
  constructor({ storage, room, tab, client, wallTime, warn }) {
    this.storage = storage;
    this.room = room;
    this.tab = tab;
    this.chosen = client;
    this.client = client ?? randomId();
    this.wallTime = wallTime;
    this.warn = warn;
  }

  /**
   * A sync as it is kept, and asked for.
   * @param {string} id
   * @param {number} base
   * @param {string} text
   * @param {string | null | undefined} user
   * @returns {Pending}
   */
  make(id, base, text, user) {
    // Later than all before it of this tab, also where the clock is set back.
    this.#last = Math.max(this.wallTime(), this.#last + 1 / 1024);
    const { tab } = this;
    const at = this.#last;
    return {
      id, base, text, user, tab, at, ops: JSON.parse(text), mine: true, sent: false, inDoubt: false,
    };
  }

  /**
   * Read what is kept from before: the client's id, and what isn't answered. Never rejects.
   * @returns {Promise<Pending[]>}
   */
  async load() {
    try {
      await this.written();
      const { client, syncs } = await this.storage.load(this.room);
      if (this.chosen === null && client !== null) this.client = client;
      else if (this.client !== client) await this.storage.keepClient(this.room, this.client);
      return syncs.map(({ id, base, text, user, tab, at }) => {
        const mine = tab === this.tab;
        const ops = JSON.parse(text);
        // Who kept it may have sent it.
        return { id, base, text, user, tab, at, ops, mine, sent: false, inDoubt: true };
      });
    } catch (error) {
      this.warn(error);
      return [];
    }
  }

  /** @param {Pending} pending */
  put(pending) {
    this.#write(this.storage.put(this.#kept(pending)));
  }

  /** @param {Pending} pending */
  drop(pending) {
    this.#write(this.storage.drop(this.#kept(pending)));
  }

  /** Resolves when all that was to be written is, or has failed. */
  async written() {
    while (this.#writing.size) await Promise.all(this.#writing);
  }

  /** @param {Pending} pending @returns {Kept} */
  #kept({ id, base, text, user, tab, at }) {
    return { room: this.room, at, id, base, text, user, tab };
  }

  /** @param {Promise<void>} written */
  #write(written) {
    const writing = written.catch(this.warn).finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }
}
