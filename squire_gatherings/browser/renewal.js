/** Renewal: a client's rights that end, and the tokens by which it renews them while connected. */

import { Backoff } from "./backoff.js";
import { PASSING, randomId } from "./protocol.js";

/** @typedef {import("./protocol.js").Refreshed} Refreshed */
/** @typedef {import("./protocol.js").ErrorMessage} ErrorMessage */

/**
 * What a new token is wanted for: a new connection (`join`), rights that are about to end (`renew`),
 * or that have ended (`expired`).
 * @typedef {"join" | "renew" | "expired"} TokenReason
 */

/**
 * A connection may be closed so long before its rights end by our clock, since the server's clock
 * isn't ours. It counts as closed because they ended.
 */
const GRACE = 1000;
/** So much time passes between two renewals, at least. */
const LEAST_PAUSE = 1000;

/** When this client's rights end, and whether it is to renew them. */
export class Renewal {
  endsAt = Infinity;
  /** @type {Backoff} */
  #backoff;
  #wanted = false;
  #notBefore = -Infinity;
  /** Whether the program is being asked for a token. */
  #asking = false;
  /** @type {string | null} The id of the request that isn't answered. */
  #askedWith = null;
  /** @type {string | null} What goes out next. */
  #request = null;

  /** @param {Backoff} backoff */
  constructor(backoff) {
    this.#backoff = backoff;
  }

  /** There is a new connection. @param {number | undefined} seconds @param {number} now */
  begin(seconds, now) {
    this.lost();
    this.#wanted = false;
    this.#notBefore = -Infinity;
    this.#backoff.reset();
    this.#endIn(seconds, now);
  }

  /** The connection has ended. What was asked on it isn't answered any more. */
  lost() {
    this.#request = this.#askedWith = null;
    this.#asking = false;
  }

  /** The server asks for a renewal, or refuses what comes without one. */
  want() {
    this.#wanted = true;
  }

  /** The server says until when we have our rights now. @param {Refreshed} message @param {number} now */
  told({ id, rights_expire_in: seconds }, now) {
    this.#endIn(seconds, now);
    if (id === undefined || id !== this.#askedWith) return;
    this.#askedWith = null;
    this.#wanted = false;
    this.#backoff.reset();
    // Whatever the server says, the program isn't asked for tokens all the time.
    this.#notBefore = now + LEAST_PAUSE;
  }

  /**
   * The server says that something has failed; whether it was a renewal.
   * @param {ErrorMessage} error
   * @param {number} now
   */
  failed({ id, code }, now) {
    if (!id || id !== this.#askedWith) return false;
    this.#askedWith = null;
    if (PASSING.has(code) || code === "internal") this.again(now);
    else this.#giveUp(now);
    return true;
  }

  /** Whether the rights have ended by now, or are just about to. @param {number} now */
  hasEnded(now) {
    return now >= this.endsAt - GRACE;
  }

  /**
   * What the program is to be asked for a token now, if at all; once.
   * @param {number} now
   * @returns {TokenReason | null}
   */
  due(now) {
    if (now < this.nextAt) return null;
    this.#asking = true;
    return this.hasEnded(now) ? "expired" : "renew";
  }

  /** When the program is to be asked for a token. */
  get nextAt() {
    if (this.#asking || this.#askedWith) return Infinity;
    return Math.max(this.#notBefore, this.#wanted ? -Infinity : this.endsAt);
  }

  /** The program has a token, or none. @param {string | null} token @param {number} now */
  token(token, now) {
    if (!this.#asking) return;
    this.#asking = false;
    if (token === null) {
      this.#giveUp(now);
    } else {
      this.#askedWith = randomId();
      this.#request = JSON.stringify({ type: "refresh", id: this.#askedWith, token });
    }
  }

  /** It couldn't be had now. @param {number} now */
  again(now) {
    this.#asking = false;
    this.#wanted = true;
    this.#notBefore = now + this.#backoff.next();
  }

  /** @returns {string | null} What goes out now, once. */
  next() {
    const request = this.#request;
    this.#request = null;
    return request;
  }

  /** @param {number} now */
  #giveUp(now) {
    this.#wanted = false;
    // The server closes the connection then, and the next join brings another token.
    this.#notBefore = this.hasEnded(now) ? Infinity : this.endsAt;
  }

  /** @param {number | undefined} seconds @param {number} now */
  #endIn(seconds, now) {
    this.endsAt = seconds === undefined ? Infinity : now + seconds * 1000;
  }
}
