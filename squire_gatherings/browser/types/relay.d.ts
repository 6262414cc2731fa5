/** @typedef {import("./changes.js").Dispersed} Dispersed */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./replica.js").Released} Released */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./syncs.js").SyncRun} SyncRun */
/**
 * @typedef {object} Follower Another tab that goes through this one.
 * @property {string} tab
 * @property {number} socket
 * @property {Wants | null} wants What it has, while it waits to join.
 * @property {boolean} counts Whether its wish to join wakes the gathering.
 * @property {boolean} joined
 * @property {boolean} asks Whether it asks who is here.
 */
/** @typedef {{ since: number, epoch?: string, tail: boolean, isFetching: boolean }} Wants */
/** @typedef {(to: string, socket: number, what: object) => void} Post */
/** @typedef {(what: object) => void} PostAll */
/** @typedef {import("./telling.js").Shown} Shown */
export class Relay {
    /**
     * @param {Session} session
     * @param {Post} post
     * @param {PostAll} postAll
     * @param {() => number} now
     */
    constructor(session: Session, post: Post, postAll: PostAll, now: () => number);
    /** Whether we know what other tabs have asked for, as far as it is kept. */
    isReady: boolean;
    session: import("./session.js").Session;
    exchange: import("./exchange.js").Exchange;
    post: Post;
    postAll: PostAll;
    now: () => number;
    /** @param {string} tab @param {number} socket */
    open(tab: string, socket: number): void;
    /** @param {string} tab @param {number} socket @param {string} text */
    say(tab: string, socket: number, text: string): void;
    /** @param {string} tab @param {number} [socket] All of them if it isn't given. */
    close(tab: string, socket?: number): void;
    /** Ops are in the state. @param {Released[]} released @param {string | undefined} epoch */
    released(released: Released[], epoch: string | undefined): void;
    /** A state came instead of ops: it isn't passed on, but given to all who join again. */
    restored(): void;
    /** The log is another one. */
    replaced(): void;
    /** @param {Dispersed} dispersed */
    dispersed(dispersed: Dispersed): void;
    /** Something has changed. @param {Shown} shown */
    tell(shown: Shown): void;
    #private;
}
export type Dispersed = import("./changes.js").Dispersed;
export type Fetched = import("./protocol.js").Fetched;
export type Op = import("./protocol.js").Op;
export type Released = import("./replica.js").Released;
export type Session = import("./session.js").Session;
export type SyncRun = import("./syncs.js").SyncRun;
/**
 * Another tab that goes through this one.
 */
export type Follower = {
    tab: string;
    socket: number;
    /**
     * What it has, while it waits to join.
     */
    wants: Wants | null;
    /**
     * Whether its wish to join wakes the gathering.
     */
    counts: boolean;
    joined: boolean;
    /**
     * Whether it asks who is here.
     */
    asks: boolean;
};
export type Wants = {
    since: number;
    epoch?: string;
    tail: boolean;
    isFetching: boolean;
};
export type Post = (to: string, socket: number, what: object) => void;
export type PostAll = (what: object) => void;
export type Shown = import("./telling.js").Shown;
