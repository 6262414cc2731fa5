/**
 * The machine: what a program's `fold` makes of ops, one after the other, and what it shows while
 * ops of ours aren't answered yet. States are values: `fold` returns the next one.
 */

import { Diverged, GatheringError } from "./errors.js";

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
export class Machine {
  /** @param {Behaviour<State>} behaviour */
  constructor(behaviour) {
    this.behaviour = behaviour;
    this.state = behaviour.initial;
  }

  /** Forget everything. */
  startOver() {
    this.state = this.behaviour.initial;
  }

  /**
   * Take over the state that the server gives. Throws `Diverged`.
   * @param {any} snapshot
   */
  restore(snapshot) {
    const { restore } = this.behaviour;
    try {
      this.state = restore ? restore(snapshot) : snapshot;
    } catch (error) {
      throw new Diverged(`the server's state is none of ours: ${error}`);
    }
  }

  /**
   * Take in an op that is certain. Throws `GatheringError` where the program does.
   * @param {Op} op
   * @param {Stamp} stamp
   */
  fold(op, stamp) {
    try {
      this.state = this.behaviour.fold(this.state, op, stamp);
    } catch (cause) {
      throw new GatheringError("behaviour", `fold fails over op ${stamp.seq}: ${cause}`, { cause });
    }
  }

  /**
   * The state after ops that aren't certain; the same one where they will be refused, or fail.
   * @param {State} state
   * @param {Pending} pending
   * @param {Submission} submission
   * @returns {{ state: State, count: number }} And how many ops it took.
   */
  suppose(state, pending, submission) {
    const { judge, fold } = this.behaviour;
    const { user: by, time } = submission;
    try {
      const ops = judge ? judge(state, pending.ops, submission) : pending.ops;
      let after = state;
      ops.forEach((op, index) => {
        after = fold(after, op, { seq: submission.seq + 1 + index, time, by });
      });
      return { state: after, count: ops.length };
    } catch {
      return { state, count: 0 };
    }
  }
}
