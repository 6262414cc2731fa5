/**
 * A tab's way to the gathering through the tab that leads: what a session uses like a WebSocket.
 * The leader tells all tabs the same ops; here they become what a server would say to this one.
 */

/** @typedef {import("./replica.js").Released} Released */
/** @typedef {import("./protocol.js").Op} Op */

import { runsOf } from "./syncs.js";

export class TabSocket {
  /** @type {((event: any) => void) | null} */
  onopen = null;
  /** @type {((event: { data: any }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;
  /** @type {((event: any) => void) | null} */
  onerror = null;
  /** The leader's last op when it let us in; -1 before. */
  #joinedSeq = -1;
  /** @type {Op[]} The first ops of a sync of ours, of which the rest isn't there yet. */
  #begun = [];

  /**
   * @param {string} tab Which one this is.
   * @param {(what: object) => void} post Says something to the leader.
   */
  constructor(tab, post) {
    this.tab = tab;
    this.post = post;
    post({ kind: "open" });
  }

  /** @param {string} text */
  send(text) {
    this.post({ kind: "say", text });
  }

  close() {
    this.post({ kind: "close" });
  }

  // What the leader says.

  opened() {
    this.onopen?.({});
  }

  /** @param {any} message */
  hear(message) {
    if (message.type === "joined") this.#joinedSeq = message.seq;
    this.onmessage?.({ data: message });
  }

  /** @param {number} code @param {string} reason */
  shut(code, reason) {
    this.onclose?.({ code, reason });
  }

  /** @param {Released[]} released @param {string | undefined} epoch The last one's. */
  feed(released, epoch) {
    if (this.#joinedSeq < 0) return;
    /** @type {Released[]} */
    let others = [];
    const pass = () => {
      if (others.length) this.#forward(others, epoch);
      others = [];
    };
    for (const one of released) {
      const { seq, op, time, own } = one;
      const isOurs = own?.tab === this.tab;
      // A sync whose beginning we had when we were let in comes as ops.
      const standsForOps = isOurs && own.start > this.#joinedSeq;
      if (standsForOps) {
        pass();
        this.#begun.push(op);
      } else if (seq > this.#joinedSeq) {
        others.push(one);
      }
      if (!isOurs || seq < own.stop - 1) continue;
      pass();
      const seqs = Array.from({ length: own.stop - own.start }, (_, index) => own.start + index);
      const ops = standsForOps ? { ops: this.#begun } : {};
      this.#begun = [];
      this.hear({ type: "synced", id: own.id, seqs, time, epoch, ...ops });
    }
    pass();
  }

  /** @param {Released[]} released @param {string | undefined} epoch */
  #forward(released, epoch) {
    this.hear({
      type: "forward",
      seq: released[0].seq,
      ops: released.map(({ op }) => op),
      by: released.map(({ by }) => by),
      times: released.map(({ time }) => time),
      mine: released.map(({ own }) => own !== null),
      syncs: runsOf(released.map(({ sync }) => sync)),
      ...(epoch !== undefined && { epoch }),
    });
  }
}
