/**
 * The server's clock, as a client knows it: its own, unless what the server said contradicts it.
 *
 * The server tells when ops were logged. What arrives was logged before, so the server's clock shows
 * at least that by now. What we have submitted was logged after that, so it showed at most that then.
 */
export class ServerClock {
    /**
     * @param {() => number} wallTime Our time of day, in milliseconds since 1970.
     * @param {() => number} steady Milliseconds by a clock that is never set.
     */
    constructor(wallTime: () => number, steady: () => number);
    wallTime: () => number;
    steady: () => number;
    /** The server's time of day, in milliseconds since 1970, as far as it's known. */
    now(): number;
    /**
     * Something has come that was logged then.
     * @param {number} time
     */
    heard(time: number): void;
    /**
     * What we submitted at an instant of the steady clock was logged then.
     * @param {number} time
     * @param {number} submittedAt
     */
    answered(time: number, submittedAt: number): void;
    #private;
}
