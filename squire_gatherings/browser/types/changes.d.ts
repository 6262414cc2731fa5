/** The changes that a reader hasn't taken yet, and the dispersals between them. */
export class ChangeQueue {
    /**
     * @param {number} maxSize How many bytes of changes are kept, about.
     * @param {(change: Change) => void} [added] Is told of each that arrives.
     */
    constructor(maxSize: number, added?: (change: Change) => void);
    /** The reader has passed everything up to this seq. */
    position: number;
    /** Everything up to this seq was handed in, kept or not. */
    arrived: number;
    maxSize: number;
    added: ((change: Change) => void) | undefined;
    /**
     * Begin with what follows `position`; nothing of it is kept up to `arrived`.
     * @param {number} position
     * @param {number} arrived
     */
    begin(position: number, arrived: number): void;
    /**
     * Drop what the reader hasn't taken: another log replaced the one it came from. The reader is
     * told `why`, once, and goes on with the first op of the new log.
     * @param {GatheringError} why
     */
    startOver(why: GatheringError): void;
    /**
     * Note that somebody else's op has arrived.
     * @param {Change} change
     * @param {number} size
     */
    add(change: Change, size: number): void;
    /**
     * Note that these ops, up to before `stop`, are the reader's own.
     * @param {number} start
     * @param {number} stop
     */
    passOver(start: number, stop: number): void;
    /**
     * Note that everything up to `seq` came as a state, not as ops.
     * @param {number} seq
     */
    skipTo(seq: number): void;
    /**
     * Note that the gathering dispersed after what has arrived by now.
     * @param {Dispersed} dispersed
     */
    end(dispersed: Dispersed): void;
    /**
     * Hand in the ops from `first` on that were fetched for what was missing. Ops beyond `arrived`
     * are left out, since nobody knows yet whether they are the reader's own.
     * @param {number} first
     * @param {Op[]} ops
     * @param {(string | null)[]} by
     * @param {number[]} [times]
     * @param {import("./syncs.js").SyncRun[]} [syncs]
     */
    refill(first: number, ops: Op[], by: (string | null)[], times?: number[], syncs?: import("./syncs.js").SyncRun[]): void;
    /**
     * What comes next for the reader; null if it must wait.
     * @returns {Taken | null}
     */
    take(): Taken | null;
    #private;
}
export type Op = import("./protocol.js").Op;
export type GatheringError = import("./errors.js").GatheringError;
export type Sync = import("./syncs.js").Sync;
/**
 * An op that somebody else submitted.
 */
export type Change = {
    seq: number;
    /**
     * Null for somebody anonymous.
     */
    by: string | null;
    op: Op;
    /**
     * When it was committed, in milliseconds since 1970; 0 if that isn't known.
     */
    time: number;
    /**
     * Whether it is from this browser: another tab's, or from before a reload.
     */
    mine: boolean;
    /**
     * What it was submitted in, which names the other ops of that; null if
     * that isn't known, or wasn't asked for.
     */
    sync: Sync | null;
};
/**
 * Why, and when, a gathering ended.
 */
export type Dispersed = {
    /**
     * `idle`, `empty`, `unjoined`, `alone`, `max_age`, `ends_at`, `admin`...
     */
    reason: string;
    /**
     * Its last op.
     */
    seq: number;
    /**
     * For how many milliseconds nothing had happened.
     */
    idleFor: number;
};
export type Taken = {
    change: Change;
} | {
    dispersed: Dispersed;
} | {
    replaced: GatheringError;
} | {
    missing: number;
};
