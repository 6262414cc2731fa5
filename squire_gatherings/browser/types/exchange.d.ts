/** @typedef {import("./protocol.js").Incoming} Incoming */
/** @typedef {import("./protocol.js").Joined} Joined */
/** @typedef {import("./protocol.js").Synced} Synced */
/** @typedef {import("./protocol.js").Conflict} Conflict */
/** @typedef {import("./protocol.js").Fetched} Fetched */
/** @typedef {import("./protocol.js").Forward} Forward */
/** @typedef {import("./protocol.js").Proof} Proof */
/** @typedef {import("./protocol.js").EndingMessage} EndingMessage */
/** @typedef {import("./protocol.js").Refreshed} Refreshed */
/** @typedef {import("./replica.js").Pending} Pending */
/** @typedef {import("./replica.js").Replica} Replica */
/** @typedef {import("./requests.js").Requests} Requests */
/** @typedef {import("./renewal.js").Renewal} Renewal */
/** @typedef {import("./presence.js").Presence} Presence */
/** @typedef {{ rule: string, at: number }} Ending By which rule, and when by our clock. */
export class Exchange {
    /**
     * @param {object} parts
     * @param {string} parts.gathering
     * @param {Replica} parts.replica
     * @param {Requests} parts.requests
     * @param {Renewal} parts.renewal
     * @param {Presence} parts.presence
     * @param {boolean} parts.syncs Whether it is asked which syncs ops came from.
     * @param {number | null} parts.since The seq after which changes are wanted; null: from the first
     *   join on.
     * @param {() => number} parts.ackDelay For how long an ack may wait for more.
     */
    constructor({ gathering, replica, requests, renewal, presence, syncs, since, ackDelay }: {
        gathering: string;
        replica: Replica;
        requests: Requests;
        renewal: Renewal;
        presence: Presence;
        syncs: boolean;
        since: number | null;
        ackDelay: () => number;
    });
    /** @type {string | null} The gathering's incarnation that we were in last. */
    incarnation: string | null;
    /** When the gathering disperses unless something happens that we don't hear of. */
    expiresAt: number;
    /** @type {Ending | null} The end that the server has warned of, while it stands. */
    ending: Ending | null;
    /** Whether this connection was good for something. */
    progressed: boolean;
    /** Whether the server has let us in once. */
    began: boolean;
    /** The log's end when we joined on this connection. */
    joinedSeq: number;
    gathering: string;
    replica: import("./replica.js").Replica;
    requests: import("./requests.js").Requests;
    renewal: import("./renewal.js").Renewal;
    presence: import("./presence.js").Presence;
    syncs: boolean;
    since: number | null;
    ackDelay: () => number;
    /** Whether the connection is up, and the server has let us in. */
    get connected(): boolean;
    /** Whether we know any op of this log. */
    get hasAnything(): boolean;
    /**
     * What says who we are and what we have, for a join.
     * @param {string} client
     * @param {string | null} token
     * @param {string | null} resume The incarnation to which we come back by ourselves.
     */
    join(client: string, token: string | null, resume: string | null): {
        known?: import("./protocol.js").Proof | undefined;
        proof: boolean;
        presence?: undefined;
        syncs?: boolean | undefined;
        times: boolean;
        tail?: boolean | undefined;
        resume?: string | undefined;
        epoch?: string | undefined;
        client: string;
        since?: number | undefined;
        token?: string | undefined;
        type: string;
    } | {
        known?: import("./protocol.js").Proof | undefined;
        proof: boolean;
        presence: any;
        syncs?: boolean | undefined;
        times: boolean;
        tail?: boolean | undefined;
        resume?: string | undefined;
        epoch?: string | undefined;
        client: string;
        since?: number | undefined;
        token?: string | undefined;
        type: string;
    };
    /**
     * The server let us in, who had everything up to `since`. Throws `Lost`, `Diverged`, and
     * `GatheringError` where the changes that are wanted first don't exist yet.
     * @param {Joined} joined
     * @param {number} since
     * @param {number} now
     */
    joined(joined: Joined, since: number, now: number): void;
    /** The connection has ended, with that close code. @param {number | null} code @param {number} now */
    lost(code: number | null, now: number): void;
    /** The log is another one than we know: begin again, from its first op. @param {GatheringError} why */
    replaced(why: GatheringError): void;
    /**
     * The next message that may go out, as JSON, if there's one.
     * @param {number} now
     * @returns {string | null}
     */
    next(now: number): string | null;
    /** When something may go out, if nothing happens before. */
    get nextAt(): number;
    /** What came is acknowledged now: perhaps no timer fires soon. */
    hurryAck(): void;
    /** Take in a message. Throws `Lost`, `Diverged`. @param {Incoming} message @param {number} now */
    take(message: Incoming, now: number): void;
    #private;
}
export type Incoming = import("./protocol.js").Incoming;
export type Joined = import("./protocol.js").Joined;
export type Synced = import("./protocol.js").Synced;
export type Conflict = import("./protocol.js").Conflict;
export type Fetched = import("./protocol.js").Fetched;
export type Forward = import("./protocol.js").Forward;
export type Proof = import("./protocol.js").Proof;
export type EndingMessage = import("./protocol.js").EndingMessage;
export type Refreshed = import("./protocol.js").Refreshed;
export type Pending = import("./replica.js").Pending;
export type Replica = import("./replica.js").Replica;
export type Requests = import("./requests.js").Requests;
export type Renewal = import("./renewal.js").Renewal;
export type Presence = import("./presence.js").Presence;
/**
 * By which rule, and when by our clock.
 */
export type Ending = {
    rule: string;
    at: number;
};
import { GatheringError } from "./errors.js";
