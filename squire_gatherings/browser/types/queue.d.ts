/** @typedef {import("./pace.js").Pace} Pace */
/**
 * The requests of one client, from when they are put in until they are answered.
 *
 * They go out in order and at once, but for four reasons: the server couldn't take one (it's
 * repeated after a while), says that they're too many (they're paced), takes none until our rights
 * are renewed (they're held), or has refused one without saying which (then they go out one at a
 * time, so that its next refusal is clear).
 */
export class Queue {
    /**
     * @param {Pace} pace
     * @param {number} repeatInterval In milliseconds.
     */
    constructor(pace: Pace, repeatInterval: number);
    /** @type {Set<string>} Those that went out on this connection and aren't answered, in order. */
    sent: Set<string>;
    pace: import("./pace.js").Pace;
    repeatInterval: number;
    /** These are to go out. @param {Iterable<string>} ids */
    put(ids: Iterable<string>): void;
    /** The connection is lost: nothing went out that counts. The suspects stay. */
    clear(): void;
    /**
     * What may go out now, if anything; it counts as `sent` once it `went`.
     * @param {number} now
     * @returns {string | null}
     */
    pop(now: number): string | null;
    /** This goes out. @param {string} id @param {number} now */
    went(id: string, now: number): void;
    /** When something may go out, if nothing happens before. */
    get nextAt(): number;
    /**
     * The server couldn't take these: they go out again, after a while.
     * @param {Iterable<string>} ids
     * @param {number} now
     */
    repeat(ids: Iterable<string>, now: number): void;
    /** The server takes none until it says so. @param {Iterable<string>} ids @param {number} now */
    hold(ids: Iterable<string>, now: number): void;
    /** The server takes requests again. @param {number} now */
    goOn(now: number): void;
    /**
     * One of these was refused: each goes out again, alone.
     * @param {string[]} ids
     * @param {number} now
     */
    suspect(ids: string[], now: number): void;
    /** This was answered. @param {string} id */
    done(id: string): void;
    /** Nobody wants this any more. @param {string} id */
    forget(id: string): void;
    #private;
}
export type Pace = import("./pace.js").Pace;
