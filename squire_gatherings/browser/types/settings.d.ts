/**
 * The settings among options. Throws `GatheringError` for one that can't be right.
 * @param {Record<string, any>} options
 * @returns {Settings}
 */
export function settingsOf(options: Record<string, any>): Settings;
export const SETTINGS: readonly string[];
export type Settings = {
    /**
     * How long one attempt may take to connect, and then until the
     * server has let us in. Doubles while attempts end so: browsers don't say that something comes.
     */
    connectTimeout: number;
    /**
     * The longest pause before the first new attempt after a lost
     * connection; doubles.
     */
    firstPause: number;
    /**
     * The longest pause before any attempt.
     */
    maxPause: number;
    /**
     * How long an outage may last before the client gives up.
     */
    patience: number;
    /**
     * After so long a silence the client asks whether the server is
     * there, while the page is visible.
     */
    probeInterval: number;
    /**
     * How long the answer may take.
     */
    probeTimeout: number;
    /**
     * How long an acknowledgement waits for more to acknowledge.
     */
    ackDelay: number;
    /**
     * How long a sync that the server can't take now waits until it
     * is sent again.
     */
    repeatInterval: number;
    /**
     * How often the state of our presence is sent at most, however
     * often it changes.
     */
    presenceInterval: number;
    /**
     * How long saying goodbye may take.
     */
    closeTimeout: number;
    /**
     * How many bytes of changes wait for the loop that reads them; more
     * are fetched again later.
     */
    maxChanges: number;
};
