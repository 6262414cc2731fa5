/**
 * Join a gathering, which is opened if need be. Nothing is waited for: what is asked goes out once
 * the server has let us in, and `room.reopen()` resolves then.
 *
 * Throws `bad_setting` for an argument that can't be right; without its value, which may be a
 * secret.
 * @template State
 * @param {string | URL} server `wss://HOST` or `ws://HOST:PORT`; a gathering is at
 *   `/gatherings/ID` there, below the URL's path if it has one. With `{gathering}` in its path or
 *   query, the URL says itself where each is.
 * @param {string} id The gathering: 1 to 128 of `A-Z a-z 0-9 . _ ~ -`.
 * @param {Options<State>} [options]
 * @returns {Room<State>}
 */
export function connect<State>(server: string | URL, id: string, options?: Options<State>): Room<State>;
export type Op = import("./protocol.js").Op;
export type Change = import("./changes.js").Change;
export type Dispersed = import("./changes.js").Dispersed;
export type Stamp = import("./machine.js").Stamp;
export type Submission = import("./machine.js").Submission;
export type Present = import("./presence.js").Present;
export type PresenceView = import("./presence.js").PresenceView;
export type TokenReason = import("./renewal.js").TokenReason;
export type RoomEvents = import("./room.js").RoomEvents;
export type Status = import("./session.js").Status;
export type Settings = import("./settings.js").Settings;
export type Storage = import("./storage.js").Storage;
export type Kept = import("./storage.js").Kept;
export type Sync = import("./syncs.js").Sync;
export type OwnOptions<State> = {
    /**
     * Goes into each join, not into the URL. A function
     * is asked on each connection, and before rights end. What it throws is a pause, unless it is a
     * `GatheringError`.
     */
    token?: import("./tokens.js").Token;
    /**
     * The state before the first op.
     */
    initial?: State | (() => State) | undefined;
    /**
     * Returns the state after an op,
     * and leaves the one that it is given as it is. Without it, no state is kept.
     */
    fold?: ((state: State, op: Op, stamp: Stamp) => State) | undefined;
    /**
     * Returns what the
     * server will log, or throws if it will refuse them.
     */
    judge?: ((state: State, ops: Op[], submission: Submission) => Op[]) | undefined;
    /**
     * Returns the state that a server's snapshot is.
     */
    restore?: ((snapshot: any) => State) | undefined;
    /**
     * Whether the state shows at once what isn't answered; true if it
     * isn't given.
     */
    optimistic?: boolean | undefined;
    /**
     * `changes` begin after this op, not with the join.
     */
    since?: number | undefined;
    /**
     * Whether to ask which syncs ops came from, for `change.sync`.
     */
    syncs?: boolean | undefined;
    /**
     * The state with which to be shown among those who are
     * here. Without it, this client is neither shown nor told, until it calls `setPresence`.
     */
    presence?: Record<string, any> | undefined;
    /**
     * Who uses this browser: what isn't answered, and the tabs that go
     * together, are of the same account only.
     */
    account?: string | undefined;
    /**
     * Where it is kept what isn't answered: IndexedDB, where tabs go
     * together; otherwise the memory.
     */
    storage?: import("./storage.js").Storage | undefined;
    /**
     * Whether the tabs of this browser share one connection; true, where
     * the browser can, if it isn't given.
     */
    tabs?: boolean | undefined;
    /**
     * An id of your own, in place of the one that is kept: a secret of 16
     * to 128 random characters.
     */
    client?: string | undefined;
    /**
     * Instead of the global one.
     */
    WebSocket?: (new (url: string, protocols: string[]) => any) | undefined;
};
export type Options<State> = OwnOptions<State> & Partial<Settings>;
import { Room } from "./room.js";
import { GatheringError } from "./errors.js";
import { IndexedDBStorage } from "./storage.js";
import { MemoryStorage } from "./storage.js";
export { GatheringError, IndexedDBStorage, MemoryStorage, Room };
