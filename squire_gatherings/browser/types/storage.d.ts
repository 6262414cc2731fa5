/**
 * Storage: where a client keeps, beyond the life of its page, what isn't answered, and the id by
 * which the server knows that it is the same client. In IndexedDB, or in memory.
 */
/**
 * @typedef {object} Kept A sync that isn't answered.
 * @property {string} room What it belongs to: a server, a gathering, an account.
 * @property {number} at Its place in the order.
 * @property {string} id
 * @property {number} base
 * @property {string} text Its ops as JSON.
 * @property {string | null | undefined} user
 * @property {string} tab
 */
/**
 * Any object that has these can be the `storage` of a room. What they reject with is told as a
 * `warning`; the room goes on without.
 * @typedef {object} Storage
 * @property {(room: string) => Promise<{ client: string | null, syncs: Kept[] }>} load What is kept
 *   for a room; the syncs in their order.
 * @property {(room: string, client: string) => Promise<void>} keepClient
 * @property {(sync: Kept) => Promise<void>} put
 * @property {(sync: Kept) => Promise<void>} drop
 * @property {() => void} [close]
 */
/**
 * Keeps everything as long as the page, or the program, lives.
 * @implements {Storage}
 */
export class MemoryStorage implements Storage {
    /** @param {string} room */
    load(room: string): Promise<{
        client: string | null;
        syncs: Kept[];
    }>;
    /** @param {string} room @param {string} client */
    keepClient(room: string, client: string): Promise<void>;
    /** @param {Kept} sync */
    put(sync: Kept): Promise<void>;
    /** @param {Kept} sync */
    drop(sync: Kept): Promise<void>;
    #private;
}
/**
 * Keeps everything in the browser, for all pages of the same origin.
 * @implements {Storage}
 */
export class IndexedDBStorage implements Storage {
    /** Whether there is such a thing here. */
    static get isThere(): boolean;
    /** @param {string} [name] Of the database. */
    constructor(name?: string);
    name: string;
    /** @param {string} room */
    load(room: string): Promise<{
        client: any;
        syncs: any[];
    }>;
    /** @param {string} room @param {string} client */
    keepClient(room: string, client: string): Promise<void>;
    /** @param {Kept} sync */
    put(sync: Kept): Promise<void>;
    /** @param {Kept} sync */
    drop({ room, id }: Kept): Promise<void>;
    close(): void;
    #private;
}
/**
 * A sync that isn't answered.
 */
export type Kept = {
    /**
     * What it belongs to: a server, a gathering, an account.
     */
    room: string;
    /**
     * Its place in the order.
     */
    at: number;
    id: string;
    base: number;
    /**
     * Its ops as JSON.
     */
    text: string;
    user: string | null | undefined;
    tab: string;
};
/**
 * Any object that has these can be the `storage` of a room. What they reject with is told as a
 * `warning`; the room goes on without.
 */
export type Storage = {
    /**
     * What is kept
     * for a room; the syncs in their order.
     */
    load: (room: string) => Promise<{
        client: string | null;
        syncs: Kept[];
    }>;
    keepClient: (room: string, client: string) => Promise<void>;
    put: (sync: Kept) => Promise<void>;
    drop: (sync: Kept) => Promise<void>;
    close?: (() => void) | undefined;
};
