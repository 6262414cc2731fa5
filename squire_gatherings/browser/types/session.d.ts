export class Session {
    /**
     * @param {object} parts
     * @param {Exchange} parts.exchange
     * @param {Settings} parts.settings
     * @param {Environment} parts.environment
     * @param {Tokens} parts.tokens
     * @param {() => Route | null} parts.route
     * @param {() => boolean} parts.isVisible
     * @param {(dispersed: import("./changes.js").Dispersed) => void} parts.dispersed
     * @param {() => void} parts.replaced Is called when the log is another one.
     * @param {() => void} parts.tell Is called whenever something has changed.
     */
    constructor(parts: {
        exchange: Exchange;
        settings: Settings;
        environment: Environment;
        tokens: Tokens;
        route: () => Route | null;
        isVisible: () => boolean;
        dispersed: (dispersed: import("./changes.js").Dispersed) => void;
        replaced: () => void;
        tell: () => void;
    });
    /** @type {Status} */
    status: Status;
    /** @type {GatheringError | null} Why nothing more will be answered. */
    failure: GatheringError | null;
    /** @type {string | null} Why the last attempt failed. */
    trouble: string | null;
    /** How many wait until this client is in the gathering. */
    rejoining: number;
    exchange: import("./exchange.js").Exchange;
    settings: import("./settings.js").Settings;
    environment: import("./connection.js").Environment;
    tokens: import("./tokens.js").Tokens;
    route: () => Route | null;
    isVisible: () => boolean;
    dispersed: (dispersed: import("./changes.js").Dispersed) => void;
    replaced: () => void;
    tell: () => void;
    get isOver(): boolean;
    start(): void;
    /** Something is asked for. */
    asked(): void;
    /** Something may go out that wakes no gathering. */
    said(): void;
    /** The way to the gathering is another one now, or there is one at last. */
    rerouted(): void;
    /** The tab that leads is in this incarnation by now. @param {string | null} incarnation */
    goesOnIn(incarnation: string | null): void;
    /** Another tab leads from now on. */
    stepDown(): void;
    /** There may be a network again, or somebody looks at the page: no time to lose. */
    hurry(): void;
    /** Timers will fire rarely: what can be said is said now. */
    hidden(): void;
    /** The page is about to stand still. */
    suspend(): void;
    /** The page goes on. */
    resume(): void;
    /**
     * Say goodbye, and end.
     * @param {GatheringError} why What all that wait, and all that ask later, are told.
     */
    close(why: GatheringError): void;
    #private;
}
export type Environment = import("./connection.js").Environment;
export type Route = import("./connection.js").Route;
export type Exchange = import("./exchange.js").Exchange;
export type Settings = import("./settings.js").Settings;
export type Tokens = import("./tokens.js").Tokens;
export type Incoming = import("./protocol.js").Incoming;
export type DispersedMessage = import("./protocol.js").DispersedMessage;
/**
 * What a session does: it connects, is in the gathering, pauses before it tries again, leaves a
 * gathering alone that has dispersed, stands still with its page, says goodbye, or is over.
 */
export type Status = "connecting" | "open" | "pausing" | "asleep" | "suspended" | "closing" | "closed";
import { GatheringError } from "./errors.js";
