/** A client that submits again and again, and notes all that it sees: in a page, and in node. */

/** The whole log as a state: each one has the one before in it, so that none is copied. */
const FOLD = { initial: null, fold: (before, op, { seq }) => ({ before, op: [seq, op.uid] }) };

function listOf(state) {
  const ops = [];
  for (let one = state; one; one = one.before) ops.push(one.op);
  return ops.reverse();
}

export class Life {
  seen = [];
  own = [];
  errors = [];
  ends = [];
  #numbers = 0;
  #name = crypto.randomUUID();
  #goesOn = false;
  #submitting = [];

  constructor(connect, url, id, options) {
    this.room = connect(url, id, { ...FOLD, since: 0, firstPause: 20, maxPause: 300, ...options });
    this.room.addEventListener("dispersed", ({ detail }) => this.ends.push(detail));
    this.room.addEventListener("warning", ({ detail }) => this.errors.push(String(detail)));
    this.#read();
  }

  async #read() {
    try {
      while (this.room.status !== "closed") {
        for await (const { seq, op, mine } of this.room.changes()) this.seen.push([seq, op.uid, mine]);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } catch (error) {
      this.errors.push(`${error.code}: ${error.message}`);
    }
  }

  /** Submit so many ops as one; resolves when they are durable. */
  async submit(count = 1) {
    const ops = Array.from({ length: count }, () => ({ uid: `${this.#name} ${++this.#numbers}` }));
    try {
      const seqs = await this.room.submit(ops);
      seqs.forEach((seq, index) => this.own.push([seq, ops[index].uid]));
    } catch (error) {
      if (error.code !== "left") this.errors.push(`${error.code}: ${error.message}`);
    }
  }

  /** Submit until `stop`: some in flight at a time. */
  begin(inFlight = 3) {
    this.#goesOn = true;
    this.#submitting = Array.from({ length: inFlight }, async () => {
      while (this.#goesOn) {
        await this.submit(1 + Math.floor(Math.random() * 3));
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      }
    });
  }

  /** Resolves when everything is answered. */
  async stop() {
    this.#goesOn = false;
    await Promise.all(this.#submitting);
  }

  /** Resolves when there are so many ops. */
  async reachSome(seq) {
    while (this.room.seq < seq) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Resolves when it is in the gathering and has everything up to `seq`, and has read it. */
  async reach(seq) {
    await this.room.reopen();
    while (this.room.seq < seq || this.room.pending.length || this.#known < seq) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return this.report();
  }

  get #known() {
    return this.seen.length + this.own.length;
  }

  report() {
    const state = listOf(this.room.state);
    const { status, seq, pending, leads, trouble } = this.room;
    const { seen, own, errors, ends } = this;
    return { status, state, seq, pending: pending.length, leads, trouble, seen, own, errors, ends };
  }
}
