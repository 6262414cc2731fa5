/** Runs: a set of seqs, kept as its runs without a hole, two numbers each. */
export class Runs {
    /** How many runs there are. */
    get size(): number;
    /** @param {number} seq */
    has(seq: number): boolean;
    /**
     * Put the seqs from `start` to before `stop` in; some of them may be there already.
     * @param {number} start
     * @param {number} stop
     */
    add(start: number, stop: number): void;
    /**
     * Forget the runs that end at `seq` or before.
     * @param {number} seq
     */
    dropTo(seq: number): void;
    clear(): void;
    /** @returns {IterableIterator<[number, number]>} Each run: its first seq, and the one after it. */
    [Symbol.iterator](): IterableIterator<[number, number]>;
    #private;
}
