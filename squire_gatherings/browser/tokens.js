/** Tokens: what a client says of itself on each connection. No error here repeats one. */

import { GatheringError } from "./errors.js";

/** @typedef {import("./renewal.js").TokenReason} TokenReason */

/**
 * A token, or what is asked for one on each connection, and before one expires.
 * @typedef {string | null | undefined
 *   | ((why: TokenReason) => string | null | undefined | Promise<string | null | undefined>)} Token
 */

const MAX_LENGTH = 8192;

export class Tokens {
  /** @param {Token} token */
  constructor(token) {
    this.token = token;
    if (typeof token !== "function") check(token);
  }

  /** Whether there may be another token later. */
  get renews() {
    return typeof this.token === "function";
  }

  /**
   * The token for a connection. Rejects with what the program throws, and with `bad_setting`.
   * @param {TokenReason} why
   * @returns {Promise<string | null>}
   */
  async ask(why) {
    const { token } = this;
    return check(typeof token === "function" ? await token(why) : token);
  }
}

/**
 * @param {unknown} token
 * @returns {string | null}
 */
function check(token) {
  if (token === null || token === undefined) return null;
  if (typeof token !== "string" || token.length > MAX_LENGTH) {
    throw new GatheringError("bad_setting", `a token is text of at most ${MAX_LENGTH} characters`);
  }
  return token;
}
