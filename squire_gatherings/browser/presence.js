/**
 * Presence: who else is here, as the server says, and the state with which we are shown. Told the
 * time; it does no I/O.
 *
 * Of our states only the newest counts. It goes with the join; later ones go out one at a time, and
 * not too often. The server doesn't answer, unless it refuses one.
 */

import { GatheringError, Lost } from "./errors.js";
import { randomId, RATE_LIMITED } from "./protocol.js";

/** @typedef {import("./protocol.js").PresenceMessage} PresenceMessage */
/** @typedef {import("./protocol.js").ErrorMessage} ErrorMessage */

/**
 * @typedef {object} Present A user who is here.
 * @property {string} user
 * @property {number} connections By how many connections.
 * @property {Record<string, any>} state The one that was set last by one of them.
 */

/**
 * @typedef {object} PresenceView Who is here, of those who asked to be shown.
 * @property {Present[]} users In a large crowd only some of them.
 * @property {number} count How many users there are, shown or not.
 * @property {number} anonymous How many connections there are besides, of nobody known.
 */

/** After `rate_limited` the next state waits for so many intervals. */
const REFUSED = 8;

export class Presence {
  /** @type {PresenceView | null} Who is here; null while that isn't known. */
  view = null;
  /** @type {string | null} The newest state of ours, as JSON; null while presence isn't asked for. */
  #text;
  /** @type {string | null} What the server knows of ours, on this connection. */
  #said = null;
  /** @type {string | null} What the last join said. */
  #wished = null;
  #version = 0;
  #maySayAt = -Infinity;
  /** How the ids of our messages begin. */
  #prefix = randomId();
  #count = 0;

  /**
   * @param {string | null} text The state with which we are shown, as JSON.
   * @param {number} interval Milliseconds between two states that are sent, at least.
   * @param {(error: GatheringError) => void} refused Is told of a state that the server refuses.
   */
  constructor(text, interval, refused) {
    this.#text = text;
    this.interval = interval;
    this.refused = refused;
  }

  /** What a join says of it. */
  wish() {
    this.#wished = this.#text;
    return this.#text === null ? {} : { presence: JSON.parse(this.#text) };
  }

  /** The server let us in, with the state that the join had. @param {number} now */
  joined(now) {
    this.#said = this.#wished;
    this.#maySayAt = now + this.interval;
  }

  /** The connection has ended: nobody knows who is here now. */
  lost() {
    this.view = this.#said = null;
    this.#version = 0;
  }

  // What goes out.

  /**
   * Have this state go out, unless we are shown with it already.
   * @param {string} text
   * @param {string | null} user Who we are.
   */
  say(text, user) {
    this.#text = text;
    const us = this.view?.users.find((one) => one.user === user);
    // Another connection of ours may have said something else since.
    if (us && us.connections > 1 && JSON.stringify(us.state) !== text) this.#said = null;
  }

  /** When the next state may go out; infinity if there is none. */
  get nextAt() {
    return this.#text === null || this.#text === this.#said ? Infinity : this.#maySayAt;
  }

  /** The message that is to go out now, if one is. @param {number} now @returns {string | null} */
  next(now) {
    if (now < this.nextAt) return null;
    this.#said = this.#text;
    this.#maySayAt = now + this.interval;
    this.#count++;
    return `{"type":"presence","id":"${this.#prefix}-${this.#count}","state":${this.#text}}`;
  }

  /** The server refuses something: whether it's a state of ours. @param {ErrorMessage} error @param {number} now */
  failed({ id, code, message }, now) {
    if (!id?.startsWith(this.#prefix)) return false;
    if (code === RATE_LIMITED) {
      this.#said = null;
      this.#maySayAt = now + REFUSED * this.interval;
    } else this.refused(new GatheringError(code, message));
    return true;
  }

  // What comes in.

  /** Take in what the server says. Throws `Lost`. @param {PresenceMessage} message */
  take({ version, since, count, anonymous, users, gone = [] }) {
    let shown = users;
    if (since !== undefined) {
      if (!this.view || since !== this.#version) {
        throw new Lost(`the server told who is here since ${since}, not since before`);
      }
      const changed = new Map(users.map((one) => [one.user, one]));
      const left = new Set(gone);
      const stay = this.view.users.filter(({ user }) => !left.has(user));
      const known = stay.map((one) => changed.get(one.user) ?? one);
      const before = new Set(stay.map(({ user }) => user));
      shown = [...known, ...users.filter(({ user }) => !before.has(user))];
    }
    if (shown.length > count) throw new Lost(`the server shows ${shown.length} of ${count} users`);
    this.#version = version;
    this.view = { users: shown, count, anonymous };
  }
}

/**
 * A state as JSON. Throws `GatheringError` for what can't be one.
 * @param {unknown} state
 */
export function stateText(state) {
  let text;
  try {
    text = JSON.stringify(state);
  } catch (cause) {
    throw new GatheringError("bad_message", "a state is an object that JSON can say", { cause });
  }
  if (!text?.startsWith("{")) {
    throw new GatheringError("bad_message", "a state is an object that JSON can say");
  }
  return text;
}
