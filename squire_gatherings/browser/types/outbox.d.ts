/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./storage.js").Kept} Kept */
/** @typedef {import("./replica.js").Pending} Pending */
export class Outbox {
    /**
     * @param {object} parts
     * @param {Storage} parts.storage
     * @param {string} parts.room
     * @param {string} parts.tab
     * @param {string | null} parts.client The program's own choice, if it has made one.
     * @param {() => number} parts.wallTime
     * @param {(error: unknown) => void} parts.warn
     */
    constructor({ storage, room, tab, client, wallTime, warn }: {
        storage: Storage;
        room: string;
        tab: string;
        client: string | null;
        wallTime: () => number;
        warn: (error: unknown) => void;
    });
    /** @type {string} */
    client: string;
    storage: import("./storage.js").Storage;
    room: string;
    tab: string;
    chosen: string | null;
    wallTime: () => number;
    warn: (error: unknown) => void;
    /**
     * A sync as it is kept, and asked for.
     * @param {string} id
     * @param {number} base
     * @param {string} text
     * @param {string | null | undefined} user
     * @returns {Pending}
     */
    make(id: string, base: number, text: string, user: string | null | undefined): Pending;
    /**
     * Read what is kept from before: the client's id, and what isn't answered. Never rejects.
     * @returns {Promise<Pending[]>}
     */
    load(): Promise<Pending[]>;
    /** @param {Pending} pending */
    put(pending: Pending): void;
    /** @param {Pending} pending */
    drop(pending: Pending): void;
    /** Resolves when all that was to be written is, or has failed. */
    written(): Promise<void>;
    #private;
}
export type Storage = import("./storage.js").Storage;
export type Kept = import("./storage.js").Kept;
export type Pending = import("./replica.js").Pending;
