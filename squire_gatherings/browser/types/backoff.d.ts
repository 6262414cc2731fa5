/**
 * Back-off: pauses that grow, each a random part of the longest that it may be, so that clients
 * that were lost together don't come back together ("full jitter": Brooker, Exponential Backoff And
 * Jitter, 2015).
 */
export class Backoff {
    /**
     * @param {number} first The longest pause before the first new attempt; doubles.
     * @param {number} longest
     * @param {() => number} random
     */
    constructor(first: number, longest: number, random: () => number);
    first: number;
    longest: number;
    random: () => number;
    /** The next pause, in milliseconds. */
    next(): number;
    /** Something went well: pauses are short again. */
    reset(): void;
    #private;
}
