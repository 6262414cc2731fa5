/**
 * A state as JSON. Throws `GatheringError` for what can't be one.
 * @param {unknown} state
 */
export function stateText(state: unknown): string;
export class Presence {
    /**
     * @param {string | null} text The state with which we are shown, as JSON.
     * @param {number} interval Milliseconds between two states that are sent, at least.
     * @param {(error: GatheringError) => void} refused Is told of a state that the server refuses.
     */
    constructor(text: string | null, interval: number, refused: (error: GatheringError) => void);
    /** @type {PresenceView | null} Who is here; null while that isn't known. */
    view: PresenceView | null;
    interval: number;
    refused: (error: GatheringError) => void;
    /** What a join says of it. */
    wish(): {
        presence?: undefined;
    } | {
        presence: any;
    };
    /** The server let us in, with the state that the join had. @param {number} now */
    joined(now: number): void;
    /** The connection has ended: nobody knows who is here now. */
    lost(): void;
    /**
     * Have this state go out, unless we are shown with it already.
     * @param {string} text
     * @param {string | null} user Who we are.
     */
    say(text: string, user: string | null): void;
    /** When the next state may go out; infinity if there is none. */
    get nextAt(): number;
    /** The message that is to go out now, if one is. @param {number} now @returns {string | null} */
    next(now: number): string | null;
    /** The server refuses something: whether it's a state of ours. @param {ErrorMessage} error @param {number} now */
    failed({ id, code, message }: ErrorMessage, now: number): boolean;
    /** Take in what the server says. Throws `Lost`. @param {PresenceMessage} message */
    take({ version, since, count, anonymous, users, gone }: PresenceMessage): void;
    #private;
}
export type PresenceMessage = import("./protocol.js").PresenceMessage;
export type ErrorMessage = import("./protocol.js").ErrorMessage;
/**
 * A user who is here.
 */
export type Present = {
    user: string;
    /**
     * By how many connections.
     */
    connections: number;
    /**
     * The one that was set last by one of them.
     */
    state: Record<string, any>;
};
/**
 * Who is here, of those who asked to be shown.
 */
export type PresenceView = {
    /**
     * In a large crowd only some of them.
     */
    users: Present[];
    /**
     * How many users there are, shown or not.
     */
    count: number;
    /**
     * How many connections there are besides, of nobody known.
     */
    anonymous: number;
};
import { GatheringError } from "./errors.js";
