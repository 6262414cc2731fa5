/** When this client's rights end, and whether it is to renew them. */
export class Renewal {
    /** @param {Backoff} backoff */
    constructor(backoff: Backoff);
    endsAt: number;
    /** There is a new connection. @param {number | undefined} seconds @param {number} now */
    begin(seconds: number | undefined, now: number): void;
    /** The connection has ended. What was asked on it isn't answered any more. */
    lost(): void;
    /** The server asks for a renewal, or refuses what comes without one. */
    want(): void;
    /** The server says until when we have our rights now. @param {Refreshed} message @param {number} now */
    told({ id, rights_expire_in: seconds }: Refreshed, now: number): void;
    /**
     * The server says that something has failed; whether it was a renewal.
     * @param {ErrorMessage} error
     * @param {number} now
     */
    failed({ id, code }: ErrorMessage, now: number): boolean;
    /** Whether the rights have ended by now, or are just about to. @param {number} now */
    hasEnded(now: number): boolean;
    /**
     * What the program is to be asked for a token now, if at all; once.
     * @param {number} now
     * @returns {TokenReason | null}
     */
    due(now: number): TokenReason | null;
    /** When the program is to be asked for a token. */
    get nextAt(): number;
    /** The program has a token, or none. @param {string | null} token @param {number} now */
    token(token: string | null, now: number): void;
    /** It couldn't be had now. @param {number} now */
    again(now: number): void;
    /** @returns {string | null} What goes out now, once. */
    next(): string | null;
    #private;
}
export type Refreshed = import("./protocol.js").Refreshed;
export type ErrorMessage = import("./protocol.js").ErrorMessage;
/**
 * What a new token is wanted for: a new connection (`join`), rights that are about to end (`renew`),
 * or that have ended (`expired`).
 */
export type TokenReason = "join" | "renew" | "expired";
import { Backoff } from "./backoff.js";
