/** A queue whose both ends cost the same, however long it is. */
/** @template T */
export class Fifo<T> {
    get length(): number;
    /** @returns {T | undefined} The next one; it stays. */
    get first(): T | undefined;
    /** @returns {T | undefined} */
    get last(): T | undefined;
    /** @param {T} item */
    push(item: T): void;
    /** @param {T[]} items */
    putFirst(items: T[]): void;
    /** @returns {T | undefined} */
    shift(): T | undefined;
    clear(): void;
    #private;
}
