/**
 * Telling: what has changed becomes events, and wakes those that wait, once everything that happens
 * now has happened. So whoever listens sees a room that is all of one piece.
 */
/** @typedef {import("./errors.js").GatheringError} GatheringError */
/** @typedef {import("./session.js").Status} Status */
/**
 * @typedef {object} Shown What a program sees of a room.
 * @property {Status} status
 * @property {any} state
 * @property {string} role
 * @property {import("./exchange.js").Ending | null} ending
 * @property {import("./presence.js").PresenceView | null} presence
 * @property {GatheringError | null} failure
 */
export class Telling {
    /**
     * @param {object} parts
     * @param {() => Shown} parts.look
     * @param {(shown: Shown) => void} parts.first Is told before anybody else.
     * @param {(type: string, detail: unknown) => void} parts.send
     * @param {() => unknown} parts.endingNow The end that is near, for an event.
     */
    constructor({ look, first, send, endingNow }: {
        look: () => Shown;
        first: (shown: Shown) => void;
        send: (type: string, detail: unknown) => void;
        endingNow: () => unknown;
    });
    look: () => Shown;
    first: (shown: Shown) => void;
    send: (type: string, detail: unknown) => void;
    endingNow: () => unknown;
    /** Something may have changed. */
    tell(): void;
    /** Something has happened. @param {string} type @param {unknown} detail */
    say(type: string, detail: unknown): void;
    /** @returns {Promise<void>} Resolves when something may have changed. */
    wait(): Promise<void>;
    #private;
}
export type GatheringError = import("./errors.js").GatheringError;
export type Status = import("./session.js").Status;
/**
 * What a program sees of a room.
 */
export type Shown = {
    status: Status;
    state: any;
    role: string;
    ending: import("./exchange.js").Ending | null;
    presence: import("./presence.js").PresenceView | null;
    failure: GatheringError | null;
};
