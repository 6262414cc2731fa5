/** The interval between two requests: doubled by a refusal, a tenth shorter by an answer. */
export class Pace {
    /**
     * @param {number} longest The longest interval, in milliseconds.
     * @param {number} calm For how long after a refusal more of them mean the same: they were under
     *   way already.
     */
    constructor(longest: number, calm: number);
    interval: number;
    /** When the next request may go out. */
    nextAt: number;
    longest: number;
    calm: number;
    /** The server says that it's too much. @param {number} now */
    slower(now: number): void;
    /** The server has taken a request. */
    answered(): void;
    /** A request goes out. @param {number} now */
    sent(now: number): void;
    #private;
}
