/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./changes.js").ChangeQueue} ChangeQueue */
/** @typedef {import("./errors.js").GatheringError} GatheringError */
/** @typedef {import("./syncs.js").Sync} Sync */
/** @typedef {import("./syncs.js").SyncRun} SyncRun */
/**
 * @typedef {object} Pending A sync that isn't answered.
 * @property {string} id
 * @property {number} base
 * @property {Op[]} ops
 * @property {string} text The ops as JSON: sent again, they are the same.
 * @property {boolean} mine Whether this tab submitted it, in this life of its page.
 * @property {string} tab Which tab did.
 * @property {string | null | undefined} user Who submitted it; undefined where that isn't known.
 * @property {number} at Its place in the order of all of this browser.
 * @property {boolean} sent
 * @property {boolean} inDoubt Whether it may have been applied without our being told.
 */
/** @typedef {{ start: number, stop: number, id: string, tab: string, mine: boolean }} Own */
/**
 * @typedef {object} Ops Ops as they came, or ours, applied under these seqs.
 * @property {"ops"} kind
 * @property {number} first
 * @property {Op[]} ops
 * @property {(string | null)[]} by
 * @property {number[]} times
 * @property {boolean[] | undefined} mine
 * @property {SyncRun[] | undefined} syncs
 * @property {string | undefined} epoch
 * @property {number} size
 */
/** @typedef {{ kind: "state", last: number, snapshot: any, epoch?: string }} State */
/** @typedef {{ kind: "applied", own: Own, ops: Op[], time: number, epoch?: string }} Applied */
/**
 * @typedef {object} Released An op that is in the state now, for whoever passes it on.
 * @property {number} seq
 * @property {Op} op
 * @property {string | null} by
 * @property {number} time
 * @property {Own | null} own Where it is of this browser.
 * @property {Sync | null} sync
 */
/** A gathering as one client knows it. Without a machine, it has ops but no state. */
export class Replica {
    /**
     * @param {object} parts
     * @param {ChangeQueue} parts.changes
     * @param {import("./machine.js").Machine<any> | null} parts.machine
     * @param {boolean} parts.optimistic Whether the state shows what isn't answered.
     * @param {import("./serverclock.js").ServerClock} parts.clock
     * @param {(ops: Released[], epoch: string | undefined) => void} parts.released Is told of ops, in
     *   order, when they are in the state.
     * @param {() => void} parts.restored Is told that a state came instead of ops.
     */
    constructor({ changes, machine, optimistic, clock, released, restored }: {
        changes: ChangeQueue;
        machine: import("./machine.js").Machine<any> | null;
        optimistic: boolean;
        clock: import("./serverclock.js").ServerClock;
        released: (ops: Released[], epoch: string | undefined) => void;
        restored: () => void;
    });
    /** Everything up to this seq has arrived. */
    seq: number;
    /** @type {string | undefined} The epoch of the op `seq`, where it's known. */
    epoch: string | undefined;
    /** Everything up to this seq is in the state; the rest is held back. */
    shownSeq: number;
    /** @type {string | undefined} */
    shownEpoch: string | undefined;
    /** @type {string | null} */
    user: string | null;
    role: string;
    /** @type {Map<string, Pending>} Unanswered syncs, in the order in which they were submitted. */
    pending: Map<string, Pending>;
    changes: import("./changes.js").ChangeQueue;
    machine: import("./machine.js").Machine<any> | null;
    optimistic: boolean;
    clock: import("./serverclock.js").ServerClock;
    released: (ops: Released[], epoch: string | undefined) => void;
    restored_: () => void;
    /**
     * We are this to the server: what isn't answered is judged anew for the state shown.
     * @param {string | null} user
     * @param {string} role
     */
    identify(user: string | null, role: string): void;
    /**
     * A state came instead of ops. Throws `Diverged`.
     * @param {number} seq
     * @param {any} snapshot
     * @param {string | undefined} epoch
     */
    restored(seq: number, snapshot: any, epoch: string | undefined): void;
    /**
     * Take in ops from `first` on; false if they were all there. Throws `Lost` where some are missing
     * before them.
     * @param {number} first
     * @param {{ ops: Op[], by: (string | null)[], times?: number[], mine?: boolean[],
     *   syncs?: SyncRun[] }} page
     * @param {string | undefined} epoch The last one's.
     */
    arrived(first: number, { ops, by, times, mine, syncs }: {
        ops: Op[];
        by: (string | null)[];
        times?: number[];
        mine?: boolean[];
        syncs?: SyncRun[];
    }, epoch: string | undefined): boolean;
    /**
     * Begin after `seq`, without what was before: only where there's no state of it.
     * @param {number} seq
     * @param {string | undefined} epoch
     */
    skipTo(seq: number, epoch: string | undefined): void;
    /** Forget everything but what we submitted: the server will give its state. */
    startOver(): void;
    /**
     * The log is another one: start over, and tell the reader. What isn't answered may be new to that
     * log; it is based on nothing that is in it.
     * @param {GatheringError} why
     */
    replaced(why: GatheringError): void;
    /**
     * Take a sync; the caller sends it, and sends it again after `lost`.
     * @param {Pending} pending
     */
    submit(pending: Pending): void;
    /**
     * The server applied a sync; false if it isn't pending. Throws `Diverged`.
     *
     * Where this answer stands for its ops, they don't come as such when all before them have;
     * otherwise they do.
     * @param {string} id
     * @param {number[]} seqs
     * @param {{ ops: Op[], epoch: string | undefined, time: number, standsForOps: boolean }} answer
     */
    synced(id: string, seqs: number[], { ops, epoch, time, standsForOps }: {
        ops: Op[];
        epoch: string | undefined;
        time: number;
        standsForOps: boolean;
    }): boolean;
    /**
     * The server refused a sync for good, or it was withdrawn unsent; false if it isn't pending.
     * @param {string} id
     */
    failed(id: string): boolean;
    /** The connection was lost: what was sent and not answered may have been applied. */
    lost(): void;
    /** What arrives now may have ops of ours in it of which we aren't told yet. */
    doubt(): void;
    /** Another tab, which reads what is kept, may have sent what we didn't. */
    doubtAll(): void;
    /** The state, with what isn't answered if it's optimistic; undefined without a machine. */
    get state(): any;
    #private;
}
export type Op = import("./protocol.js").Op;
export type ChangeQueue = import("./changes.js").ChangeQueue;
export type GatheringError = import("./errors.js").GatheringError;
export type Sync = import("./syncs.js").Sync;
export type SyncRun = import("./syncs.js").SyncRun;
/**
 * A sync that isn't answered.
 */
export type Pending = {
    id: string;
    base: number;
    ops: Op[];
    /**
     * The ops as JSON: sent again, they are the same.
     */
    text: string;
    /**
     * Whether this tab submitted it, in this life of its page.
     */
    mine: boolean;
    /**
     * Which tab did.
     */
    tab: string;
    /**
     * Who submitted it; undefined where that isn't known.
     */
    user: string | null | undefined;
    /**
     * Its place in the order of all of this browser.
     */
    at: number;
    sent: boolean;
    /**
     * Whether it may have been applied without our being told.
     */
    inDoubt: boolean;
};
export type Own = {
    start: number;
    stop: number;
    id: string;
    tab: string;
    mine: boolean;
};
/**
 * Ops as they came, or ours, applied under these seqs.
 */
export type Ops = {
    kind: "ops";
    first: number;
    ops: Op[];
    by: (string | null)[];
    times: number[];
    mine: boolean[] | undefined;
    syncs: SyncRun[] | undefined;
    epoch: string | undefined;
    size: number;
};
export type State = {
    kind: "state";
    last: number;
    snapshot: any;
    epoch?: string;
};
export type Applied = {
    kind: "applied";
    own: Own;
    ops: Op[];
    time: number;
    epoch?: string;
};
/**
 * An op that is in the state now, for whoever passes it on.
 */
export type Released = {
    seq: number;
    op: Op;
    by: string | null;
    time: number;
    /**
     * Where it is of this browser.
     */
    own: Own | null;
    sync: Sync | null;
};
