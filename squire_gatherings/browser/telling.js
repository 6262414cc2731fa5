/**
 * Telling: what has changed becomes events, and wakes those that wait, once everything that happens
 * now has happened. So whoever listens sees a room that is all of one piece.
 */

/** @typedef {import("./errors.js").GatheringError} GatheringError */
/** @typedef {import("./session.js").Status} Status */

/**
 * @typedef {object} Shown What a program sees of a room.
 * @property {Status} status
 * @property {any} state
 * @property {string} role
 * @property {import("./exchange.js").Ending | null} ending
 * @property {import("./presence.js").PresenceView | null} presence
 * @property {GatheringError | null} failure
 */

export class Telling {
  /** @type {Set<() => void>} Who waits for something to change. */
  #waiting = new Set();
  /** @type {[string, unknown][]} What is to be told besides. */
  #news = [];
  #isDue = false;
  /** @type {Shown} What was told last. */
  #told;

  /**
   * @param {object} parts
   * @param {() => Shown} parts.look
   * @param {(shown: Shown) => void} parts.first Is told before anybody else.
   * @param {(type: string, detail: unknown) => void} parts.send
   * @param {() => unknown} parts.endingNow The end that is near, for an event.
   */
  constructor({ look, first, send, endingNow }) {
    this.look = look;
    this.first = first;
    this.send = send;
    this.endingNow = endingNow;
    this.#told = look();
  }

  /** Something may have changed. */
  tell() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#tellNow();
    });
  }

  /** Something has happened. @param {string} type @param {unknown} detail */
  say(type, detail) {
    this.#news.push([type, detail]);
    this.tell();
  }

  /** @returns {Promise<void>} Resolves when something may have changed. */
  wait() {
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  #tellNow() {
    const before = this.#told;
    const shown = (this.#told = this.look());
    const news = this.#news;
    this.#news = [];
    this.first(shown);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
    const { send } = this;
    if (shown.status !== before.status) send("status", shown.status);
    for (const [type, detail] of news) send(type, detail);
    if (shown.state !== before.state) send("state", shown.state);
    if (shown.role !== before.role) send("role", shown.role);
    if (shown.ending !== before.ending) send("ending", this.endingNow());
    if (shown.presence !== before.presence) send("presence", shown.presence);
    const isOver = shown.status === "closed" && before.status !== "closed";
    if (isOver) send("closed", shown.failure);
  }
}
