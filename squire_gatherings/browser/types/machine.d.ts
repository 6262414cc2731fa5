/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./replica.js").Pending} Pending */
/**
 * @typedef {object} Stamp What is known of an op besides itself.
 * @property {number} seq
 * @property {number} time Milliseconds since 1970; 0 if that isn't known.
 * @property {string | null} by
 */
/**
 * @typedef {object} Submission How ops are submitted.
 * @property {string | null} user
 * @property {string} role
 * @property {number} base What the submitter knew.
 * @property {number} seq The last op before them.
 * @property {number} time
 */
/**
 * @template State
 * @typedef {object} Behaviour
 * @property {State} initial The state before the first op.
 * @property {(state: State, op: Op, stamp: Stamp) => State} fold Returns the state after an op.
 *   It must not change the one that it is given.
 * @property {(state: State, ops: Op[], submission: Submission) => Op[]} [judge] Returns what the
 *   server will log for these ops, or throws if it will refuse them: for the state that is shown
 *   before the answer. Without it, ops are shown as they are.
 * @property {(snapshot: any) => State} [restore] Returns the state that a server's snapshot is.
 */
/** @template State */
export class Machine<State> {
    /** @param {Behaviour<State>} behaviour */
    constructor(behaviour: Behaviour<State>);
    behaviour: Behaviour<State>;
    state: State;
    /** Forget everything. */
    startOver(): void;
    /**
     * Take over the state that the server gives. Throws `Diverged`.
     * @param {any} snapshot
     */
    restore(snapshot: any): void;
    /**
     * Take in an op that is certain. Throws `GatheringError` where the program does.
     * @param {Op} op
     * @param {Stamp} stamp
     */
    fold(op: Op, stamp: Stamp): void;
    /**
     * The state after ops that aren't certain; the same one where they will be refused, or fail.
     * @param {State} state
     * @param {Pending} pending
     * @param {Submission} submission
     * @returns {{ state: State, count: number }} And how many ops it took.
     */
    suppose(state: State, pending: Pending, submission: Submission): {
        state: State;
        count: number;
    };
}
export type Op = import("./protocol.js").Op;
export type Pending = import("./replica.js").Pending;
/**
 * What is known of an op besides itself.
 */
export type Stamp = {
    seq: number;
    /**
     * Milliseconds since 1970; 0 if that isn't known.
     */
    time: number;
    by: string | null;
};
/**
 * How ops are submitted.
 */
export type Submission = {
    user: string | null;
    role: string;
    /**
     * What the submitter knew.
     */
    base: number;
    /**
     * The last op before them.
     */
    seq: number;
    time: number;
};
export type Behaviour<State> = {
    /**
     * The state before the first op.
     */
    initial: State;
    /**
     * Returns the state after an op.
     * It must not change the one that it is given.
     */
    fold: (state: State, op: Op, stamp: Stamp) => State;
    /**
     * Returns what the
     * server will log for these ops, or throws if it will refuse them: for the state that is shown
     * before the answer. Without it, ops are shown as they are.
     */
    judge?: ((state: State, ops: Op[], submission: Submission) => Op[]) | undefined;
    /**
     * Returns the state that a server's snapshot is.
     */
    restore?: ((snapshot: any) => State) | undefined;
};
