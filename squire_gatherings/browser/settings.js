/** Settings: times in milliseconds, sizes in bytes. */

import { GatheringError } from "./errors.js";

/**
 * @typedef {object} Settings
 * @property {number} connectTimeout How long one attempt may take to connect, and then until the
 *   server has let us in. Doubles while attempts end so: browsers don't say that something comes.
 * @property {number} firstPause The longest pause before the first new attempt after a lost
 *   connection; doubles.
 * @property {number} maxPause The longest pause before any attempt.
 * @property {number} patience How long an outage may last before the client gives up.
 * @property {number} probeInterval After so long a silence the client asks whether the server is
 *   there, while the page is visible.
 * @property {number} probeTimeout How long the answer may take.
 * @property {number} ackDelay How long an acknowledgement waits for more to acknowledge.
 * @property {number} repeatInterval How long a sync that the server can't take now waits until it
 *   is sent again.
 * @property {number} presenceInterval How often the state of our presence is sent at most, however
 *   often it changes.
 * @property {number} closeTimeout How long saying goodbye may take.
 * @property {number} maxChanges How many bytes of changes wait for the loop that reads them; more
 *   are fetched again later.
 */

/** @type {Readonly<Settings>} */
const DEFAULTS = Object.freeze({
  connectTimeout: 10_000,
  firstPause: 100,
  maxPause: 30_000,
  patience: Infinity,
  probeInterval: 20_000,
  probeTimeout: 10_000,
  ackDelay: 100,
  repeatInterval: 500,
  presenceInterval: 250,
  closeTimeout: 5_000,
  maxChanges: 4 * 1024 * 1024,
});

/**
 * The settings among options. Throws `GatheringError` for one that can't be right.
 * @param {Record<string, any>} options
 * @returns {Settings}
 */
export function settingsOf(options) {
  const settings = { ...DEFAULTS };
  for (const name of /** @type {(keyof Settings)[]} */ (Object.keys(DEFAULTS))) {
    const value = options[name];
    if (value === undefined) continue;
    const least = name === "ackDelay" || name === "closeTimeout" ? 0 : Number.MIN_VALUE;
    if (typeof value !== "number" || !(value >= least)) {
      throw new GatheringError("bad_setting", `${name} is a number of milliseconds or bytes`);
    }
    settings[name] = value;
  }
  return settings;
}

export const SETTINGS = Object.freeze(Object.keys(DEFAULTS));
