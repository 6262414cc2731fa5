/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./changes.js").Change} Change */
/** @typedef {import("./changes.js").Dispersed} Dispersed */
/** @typedef {import("./connection.js").Environment} Environment */
/** @typedef {import("./connection.js").Route} Route */
/** @typedef {import("./presence.js").PresenceView} PresenceView */
/** @typedef {import("./session.js").Status} Status */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./tabs.js").Tabs} Tabs */
/** @typedef {import("./telling.js").Shown} Shown */
/**
 * @template State
 * @typedef {object} Page A gathering as it was, or a part of its log.
 * @property {number} seq The last op of it.
 * @property {any} [snapshot] The server's state after `seq`, where its behaviour gives one.
 * @property {Change[]} [changes] Otherwise its ops. Where they end before `seq`, fetch again.
 */
/**
 * @typedef {object} RoomEvents What `addEventListener` takes, and the `detail` of each.
 * @property {CustomEvent<Status>} status
 * @property {CustomEvent<any>} state The state is another one now.
 * @property {CustomEvent<Change>} change Somebody else has submitted an op.
 * @property {CustomEvent<{ id: string, ops: Op[], error: GatheringError }>} refused What was
 *   submitted was refused for good; also what is from before a reload.
 * @property {CustomEvent<{ rule: string, left: number } | null>} ending The gathering will end; null: not any more.
 * @property {CustomEvent<PresenceView | null>} presence Others are here, or with other states.
 * @property {CustomEvent<Dispersed>} dispersed It has ended, and nothing is wrong.
 * @property {CustomEvent<string>} role
 * @property {CustomEvent<GatheringError>} warning Something has failed, and the room goes on.
 * @property {CustomEvent<GatheringError>} closed It is over for good.
 */
/**
 * A gathering that a program has joined, by `connect`. A lost connection is nothing but a pause
 * here. What ends it for good (`unauthorized`, `replaced`, `left` ...) is what everything rejects
 * with that is called or waits.
 * @template State
 */
export class Room<State> extends EventTarget {
    /**
     * By `connect` only.
     * @param {object} parts
     * @param {string} parts.id
     * @param {string} parts.name What it is called in this browser's storage.
     * @param {Settings} parts.settings
     * @param {Environment} parts.environment
     * @param {import("./tokens.js").Tokens} parts.tokens
     * @param {import("./page.js").Page} parts.page
     * @param {import("./machine.js").Behaviour<State> | null} parts.behaviour
     * @param {boolean} parts.optimistic
     * @param {number | null} parts.since
     * @param {boolean} parts.syncs
     * @param {string | null} parts.presence A state, as JSON.
     * @param {Storage} parts.storage
     * @param {string | null} parts.client
     * @param {() => import("./connection.js").Socket} parts.open
     * @param {import("./tabs.js").MakeTabs} parts.makeTabs
     */
    constructor(parts: {
        id: string;
        name: string;
        settings: Settings;
        environment: Environment;
        tokens: import("./tokens.js").Tokens;
        page: import("./page.js").Page;
        behaviour: import("./machine.js").Behaviour<State> | null;
        optimistic: boolean;
        since: number | null;
        syncs: boolean;
        presence: string | null;
        storage: Storage;
        client: string | null;
        open: () => import("./connection.js").Socket;
        makeTabs: import("./tabs.js").MakeTabs;
    });
    id: string;
    /** The state, with what isn't answered yet; undefined without a `fold`. @returns {State} */
    get state(): State;
    /** The seq of the last op that has arrived. */
    get seq(): number;
    /** What the room does now. @returns {Status} */
    get status(): Status;
    /** Why the room isn't connected, for people; null while it is. @returns {string | null} */
    get trouble(): string | null;
    /** Why it is over for good; null while it isn't. @returns {GatheringError | null} */
    get failure(): GatheringError | null;
    /** Who this is to the others; null for nobody known. @returns {string | null} */
    get user(): string | null;
    /** What this client is to the gathering. @returns {string} */
    get role(): string;
    /** What isn't answered yet, in order: also of other tabs, and from before a reload. */
    get pending(): {
        id: string;
        ops: Record<string, any>[];
    }[];
    /** The end that the server has warned of: the rule, and in how many milliseconds. */
    get ending(): {
        rule: string;
        left: number;
    } | null;
    /**
     * Who is here, this client included; null while that isn't known: presence wasn't asked for, the
     * server has none, or there is no connection now.
     * @returns {PresenceView | null}
     */
    get presence(): PresenceView | null;
    /** In how many milliseconds the gathering disperses at the earliest; null while it is asleep. */
    get expiresIn(): number | null;
    /** How the gathering ended the last time; null while it hasn't. @returns {Dispersed | null} */
    get dispersed(): Dispersed | null;
    /** Whether this tab has the connection, and the others of this browser go through it. */
    get leads(): boolean;
    /**
     * Submit an op, or several as one: all or none. Resolves when they are durable, however long that
     * takes, with their seqs. Wakes a gathering that has dispersed.
     *
     * Rejects with `rejected`, `conflict`, `forbidden`, `too_big`, `log_full`, `id_reused`; with
     * `bad_message` for what isn't JSON; and with what ends the room. Where `signal` is aborted,
     * it rejects with its reason; the ops may be applied all the same, unless they weren't sent.
     * @param {Op | Op[]} ops
     * @param {{ id?: string, signal?: AbortSignal }} [options] `id` names this submit for ever:
     *   submitted again with it, it is applied once and answered again.
     * @returns {Promise<number[]>}
     */
    submit(ops: Op | Op[], options?: {
        id?: string;
        signal?: AbortSignal;
    }): Promise<number[]>;
    /**
     * Be shown with this state from now on; ask for presence, if `connect` didn't. It goes out soon,
     * and on each new connection; of several only the newest does. It wakes no gathering. What the
     * server refuses is a `warning`. Throws `bad_message` for what isn't an object.
     * @param {Record<string, any>} state
     */
    setPresence(state: Record<string, any>): void;
    /**
     * The gathering as it was after the op `at`, or at an instant; or its ops after `since`. It is
     * activity, and wakes a gathering that has dispersed.
     * @param {{ at?: number | Date, since?: number }} [what]
     * @returns {Promise<Page<State>>}
     */
    fetch({ at, since }?: {
        at?: number | Date;
        since?: number;
    }): Promise<Page<State>>;
    /**
     * What others do, each op once and in order, beginning with the join (or with `since`, as
     * `connect` was told). It ends when the gathering disperses: `dispersed` says why, and the next
     * loop goes on after that. It throws `log_replaced` where the server's log turns out to be
     * another one: the next loop begins with its first op. It ends, too, when the room is closed. One
     * loop at a time.
     * @returns {AsyncGenerator<Change, void, undefined>}
     */
    changes(): AsyncGenerator<Change, void, undefined>;
    /**
     * Resolves when all that was submitted is kept beyond this page, or that has failed (`warning`).
     * @returns {Promise<void>}
     */
    kept(): Promise<void>;
    /** Wake the gathering if it has dispersed; resolves once this client is in it. */
    reopen(): Promise<void>;
    /**
     * Say goodbye. What isn't answered stays in the storage, and is asked for again by the next
     * `connect` to this gathering.
     * @returns {Promise<void>} Resolves when the connection is closed.
     */
    close(): Promise<void>;
    /**
     * @template {keyof RoomEvents} K
     * @overload
     * @param {K} type
     * @param {(event: RoomEvents[K]) => void} listener
     * @param {boolean | AddEventListenerOptions} [options]
     * @returns {void}
     */
    override addEventListener<K extends keyof RoomEvents>(type: K, listener: (event: RoomEvents[K]) => void, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * @overload
     * @param {string} type
     * @param {EventListenerOrEventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     * @returns {void}
     */
    override addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions | undefined): void;
    #private;
}
export type Op = import("./protocol.js").Op;
export type Change = import("./changes.js").Change;
export type Dispersed = import("./changes.js").Dispersed;
export type Environment = import("./connection.js").Environment;
export type Route = import("./connection.js").Route;
export type PresenceView = import("./presence.js").PresenceView;
export type Status = import("./session.js").Status;
export type Settings = import("./settings.js").Settings;
export type Storage = import("./storage.js").Storage;
export type Tabs = import("./tabs.js").Tabs;
export type Shown = import("./telling.js").Shown;
/**
 * A gathering as it was, or a part of its log.
 */
export type Page<State> = {
    /**
     * The last op of it.
     */
    seq: number;
    /**
     * The server's state after `seq`, where its behaviour gives one.
     */
    snapshot?: any;
    /**
     * Otherwise its ops. Where they end before `seq`, fetch again.
     */
    changes?: import("./changes.js").Change[] | undefined;
};
/**
 * What `addEventListener` takes, and the `detail` of each.
 */
export type RoomEvents = {
    status: CustomEvent<Status>;
    /**
     * The state is another one now.
     */
    state: CustomEvent<any>;
    /**
     * Somebody else has submitted an op.
     */
    change: CustomEvent<Change>;
    /**
     * What was
     * submitted was refused for good; also what is from before a reload.
     */
    refused: CustomEvent<{
        id: string;
        ops: Op[];
        error: GatheringError;
    }>;
    /**
     * The gathering will end; null: not any more.
     */
    ending: CustomEvent<{
        rule: string;
        left: number;
    } | null>;
    /**
     * Others are here, or with other states.
     */
    presence: CustomEvent<PresenceView | null>;
    /**
     * It has ended, and nothing is wrong.
     */
    dispersed: CustomEvent<Dispersed>;
    role: CustomEvent<string>;
    /**
     * Something has failed, and the room goes on.
     */
    warning: CustomEvent<GatheringError>;
    /**
     * It is over for good.
     */
    closed: CustomEvent<GatheringError>;
};
import { GatheringError } from "./errors.js";
