/** @typedef {import("./protocol.js").Fetch} Fetch */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Synced} Synced */
/** @typedef {import("./protocol.js").ErrorMessage} ErrorMessage */
/** @typedef {import("./replica.js").Pending} Pending */
/** @typedef {import("./replica.js").Replica} Replica */
/** @typedef {import("./queue.js").Queue} Queue */
/**
 * @template T
 * @typedef {{ done: (answer: T) => void, failed: (error: GatheringError) => void }} Waiter
 */
/** @typedef {{ fetch: Fetch, waiter: Waiter<Fetched> }} Look */
/**
 * @callback Refused A sync was refused for good.
 * @param {Pending} pending
 * @param {GatheringError} error
 * @returns {void}
 */
/**
 * @typedef {object} Outbox Keeps what isn't answered beyond this page.
 * @property {(pending: Pending) => void} put
 * @property {(pending: Pending) => void} drop
 */
/**
 * The syncs and fetches of one client that aren't answered, and who waits for the answers. Each
 * goes out again on each new connection, a sync with the same id.
 */
export class Requests {
    /**
     * @param {Replica} replica Its `pending` are the syncs.
     * @param {Queue} queue Those that may go out on this connection, by their ids.
     * @param {Outbox} outbox
     * @param {Refused} [wasRefused]
     */
    constructor(replica: Replica, queue: Queue, outbox: Outbox, wasRefused?: Refused);
    /** Whether there is a connection on which they may go out. */
    isOpen: boolean;
    /** @type {number | null} How many ops the server takes in one sync, where it says so. */
    maxOps: number | null;
    /** @type {Fetch | null} What the reader lacks, and is asked for. */
    fetch: Fetch | null;
    /** @type {Map<string, Look>} Other fetches, and who waits for them. */
    looks: Map<string, Look>;
    replica: import("./replica.js").Replica;
    queue: import("./queue.js").Queue;
    outbox: Outbox;
    wasRefused: Refused | undefined;
    /**
     * Ask for a sync. Throws `GatheringError`.
     * @param {Pending} pending
     * @param {Waiter<number[]>} waiter
     * @param {{ keep: boolean }} [options] Whether it is kept beyond this page.
     */
    askToSync(pending: Pending, waiter: Waiter<number[]>, { keep }?: {
        keep: boolean;
    }): void;
    /** Go on with a sync that was asked for before. @param {Pending} pending */
    adopt(pending: Pending): void;
    /**
     * Take a sync back, if it never went out; whether that is so.
     * @param {string} id
     */
    withdraw(id: string): boolean;
    /** This stays where it is kept, and isn't asked for here. @param {string} id */
    setAside(id: string): void;
    /** What other tabs, or earlier pages, have asked for is another tab's to ask from now on. */
    setOthersAside(): void;
    /** Nobody waits for this answer any more. @param {string} id */
    leave(id: string): void;
    /** Ask for the ops after `since`. Throws, once, why that failed. @param {number} since */
    askToFetch(since: number): void;
    /** @param {Fetch} fetch @param {Waiter<Fetched>} waiter */
    askToLook(fetch: Fetch, waiter: Waiter<Fetched>): void;
    /** Whether anything isn't answered. */
    get isWaiting(): boolean;
    /**
     * There is a new connection: everything goes out on it.
     * @param {number | null} maxOps
     * @param {number} logEnd The last op of the log.
     */
    begin(maxOps: number | null, logEnd: number): void;
    /** The connection has ended, with that close code. @param {number | null} code @param {number} now */
    lost(code: number | null, now: number): void;
    /** The log is another one: what was to be fetched isn't in it. */
    startOver(): void;
    /** Nothing more will be answered. @param {GatheringError} error */
    fail(error: GatheringError): void;
    /**
     * What goes out now, as JSON, if anything may.
     * @param {number} now
     * @returns {string | null}
     */
    next(now: number): string | null;
    /** @param {string} id @returns {Fetch | null} The fetch, if this is its id. */
    fetchOf(id: string): Fetch | null;
    /** A sync was applied. @param {Pending} pending @param {number[]} seqs */
    synced(pending: Pending, seqs: number[]): void;
    /** @param {Fetched} fetched */
    looked(fetched: Fetched): void;
    /** What was to be fetched is there. @param {Fetch} fetch */
    fetched(fetch: Fetch): void;
    /** The server refuses a request for good. @param {string} id @param {GatheringError} error */
    refused(id: string, error: GatheringError): void;
    /** The server says that something failed. Throws `Lost`. @param {ErrorMessage} error @param {number} now */
    failed(error: ErrorMessage, now: number): void;
    #private;
}
export type Fetch = import("./protocol.js").Fetch;
export type Fetched = import("./protocol.js").Fetched;
export type Synced = import("./protocol.js").Synced;
export type ErrorMessage = import("./protocol.js").ErrorMessage;
export type Pending = import("./replica.js").Pending;
export type Replica = import("./replica.js").Replica;
export type Queue = import("./queue.js").Queue;
export type Waiter<T> = {
    done: (answer: T) => void;
    failed: (error: GatheringError) => void;
};
export type Look = {
    fetch: Fetch;
    waiter: Waiter<Fetched>;
};
/**
 * A sync was refused for good.
 */
export type Refused = (pending: Pending, error: GatheringError) => void;
/**
 * Keeps what isn't answered beyond this page.
 */
export type Outbox = {
    put: (pending: Pending) => void;
    drop: (pending: Pending) => void;
};
import { GatheringError } from "./errors.js";
