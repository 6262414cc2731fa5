export class Tokens {
    /** @param {Token} token */
    constructor(token: Token);
    token: Token;
    /** Whether there may be another token later. */
    get renews(): boolean;
    /**
     * The token for a connection. Rejects with what the program throws, and with `bad_setting`.
     * @param {TokenReason} why
     * @returns {Promise<string | null>}
     */
    ask(why: TokenReason): Promise<string | null>;
}
export type TokenReason = import("./renewal.js").TokenReason;
/**
 * A token, or what is asked for one on each connection, and before one expires.
 */
export type Token = string | null | undefined | ((why: TokenReason) => string | null | undefined | Promise<string | null | undefined>);
