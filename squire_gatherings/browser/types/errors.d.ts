/**
 * What an unknown thing that was thrown says.
 * @param {unknown} thrown
 * @returns {string}
 */
export function textOf(thrown: unknown): string;
/**
 * Errors: one class for all that goes wrong on purpose, told apart by `code`; and why a connection
 * is over.
 */
/**
 * What a room rejects with. `code` is one of the protocol's codes (`rejected`, `conflict`,
 * `forbidden` ...) or one of the client's own: `left`, `replaced`, `cannot_connect`,
 * `bad_setting`, `behaviour`, `storage`.
 */
export class GatheringError extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {{ cause?: unknown }} [options]
     */
    constructor(code: string, message: string, options?: {
        cause?: unknown;
    });
    /** @type {string} */
    code: string;
    /**
     * A copy for one more caller: each gets a stack of its own.
     * @returns {GatheringError}
     */
    copy(): GatheringError;
}
/** A connection is of no more use: come back after a pause, or see what `code` says. */
export class Lost extends Error {
    /**
     * @param {string} message
     * @param {number | null} [code] The close code, where there is one.
     */
    constructor(message: string, code?: number | null);
    code: number | null;
}
/** The server's state is none of ours: begin again from what it gives. */
export class Diverged extends Error {
    /** @param {string} message */
    constructor(message: string);
}
