/**
 * Squire gatherings, from JavaScript: join a gathering, submit ops, and see what others do.
 *
 * ```js
 * import { connect } from "./squire-gatherings/index.js";
 *
 * const room = connect("wss://rooms.example.org", "friday-42", {
 *   token: () => login.freshToken(),
 *   initial: 0,
 *   fold: (count, op) => count + op.add,
 * });
 * room.addEventListener("state", () => show(room.state));
 * await room.submit({ add: 1 });
 * ```
 */

import { GatheringError } from "./errors.js";
import { thisPage } from "./page.js";
import { isGatheringId, isMessageId, SUBPROTOCOL, urlOf } from "./protocol.js";
import { Room } from "./room.js";
import { stateText } from "./presence.js";
import { SETTINGS, settingsOf } from "./settings.js";
import { IndexedDBStorage, MemoryStorage } from "./storage.js";
import { alone, thisBrowser, together } from "./tabs.js";
import { Tokens } from "./tokens.js";

/** @typedef {import("./protocol.js").Op} Op */
/** @typedef {import("./changes.js").Change} Change */
/** @typedef {import("./changes.js").Dispersed} Dispersed */
/** @typedef {import("./machine.js").Stamp} Stamp */
/** @typedef {import("./machine.js").Submission} Submission */
/** @typedef {import("./presence.js").Present} Present */
/** @typedef {import("./presence.js").PresenceView} PresenceView */
/** @typedef {import("./renewal.js").TokenReason} TokenReason */
/** @typedef {import("./room.js").RoomEvents} RoomEvents */
/** @typedef {import("./session.js").Status} Status */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./storage.js").Kept} Kept */
/** @typedef {import("./syncs.js").Sync} Sync */

/**
 * @template State
 * @typedef {object} OwnOptions
 * @property {import("./tokens.js").Token} [token] Goes into each join, not into the URL. A function
 *   is asked on each connection, and before rights end. What it throws is a pause, unless it is a
 *   `GatheringError`.
 * @property {State | (() => State)} [initial] The state before the first op.
 * @property {(state: State, op: Op, stamp: Stamp) => State} [fold] Returns the state after an op,
 *   and leaves the one that it is given as it is. Without it, no state is kept.
 * @property {(state: State, ops: Op[], submission: Submission) => Op[]} [judge] Returns what the
 *   server will log, or throws if it will refuse them.
 * @property {(snapshot: any) => State} [restore] Returns the state that a server's snapshot is.
 * @property {boolean} [optimistic] Whether the state shows at once what isn't answered; true if it
 *   isn't given.
 * @property {number} [since] `changes` begin after this op, not with the join.
 * @property {boolean} [syncs] Whether to ask which syncs ops came from, for `change.sync`.
 * @property {Record<string, any>} [presence] The state with which to be shown among those who are
 *   here. Without it, this client is neither shown nor told, until it calls `setPresence`.
 * @property {string} [account] Who uses this browser: what isn't answered, and the tabs that go
 *   together, are of the same account only.
 * @property {Storage} [storage] Where it is kept what isn't answered: IndexedDB, where tabs go
 *   together; otherwise the memory.
 * @property {boolean} [tabs] Whether the tabs of this browser share one connection; true, where
 *   the browser can, if it isn't given.
 * @property {string} [client] An id of your own, in place of the one that is kept: a secret of 16
 *   to 128 random characters.
 * @property {new (url: string, protocols: string[]) => any} [WebSocket] Instead of the global one.
 */

/**
 * @template State
 * @typedef {OwnOptions<State> & Partial<Settings>} Options
 */

const LEAST_CLIENT_ID = 16;
const OPTIONS = new Set([
  ...["token", "initial", "fold", "judge", "restore", "optimistic", "since", "account", "storage"],
  ...["tabs", "client", "WebSocket", "syncs", "presence"],
  ...SETTINGS,
]);

/**
 * Join a gathering, which is opened if need be. Nothing is waited for: what is asked goes out once
 * the server has let us in, and `room.reopen()` resolves then.
 *
 * Throws `bad_setting` for an argument that can't be right; without its value, which may be a
 * secret.
 * @template State
 * @param {string | URL} server `wss://HOST` or `ws://HOST:PORT`; a gathering is at
 *   `/gatherings/ID` there, below the URL's path if it has one. With `{gathering}` in its path or
 *   query, the URL says itself where each is.
 * @param {string} id The gathering: 1 to 128 of `A-Z a-z 0-9 . _ ~ -`.
 * @param {Options<State>} [options]
 * @returns {Room<State>}
 */
export function connect(server, id, options = {}) {
  if (!isGatheringId(id)) wrong("a gathering's id is 1 to 128 of A-Z a-z 0-9 . _ ~ -");
  const url = urlOf(server, id);
  if (url === null) wrong("the URL of a server is ws://HOST:PORT or wss://HOST");
  for (const name of Object.keys(options)) {
    if (!OPTIONS.has(name)) wrong(`there is no option ${name}`);
  }
  const { fold, initial, judge, restore, client = null, since = null, account = "" } = options;
  if (fold !== undefined && typeof fold !== "function") wrong("fold is a function");
  if (client !== null && (!isMessageId(client) || client.length < LEAST_CLIENT_ID)) {
    wrong("client is a secret of 16 to 128 random characters");
  }
  if (since !== null && !(Number.isSafeInteger(since) && since >= 0)) wrong("since is a seq");
  if (options.presence !== undefined && typeof options.presence !== "object") {
    wrong("presence is an object that JSON can say");
  }
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  if (!Socket) wrong("there is no WebSocket here: give one as the option WebSocket");
  const browser = (options.tabs ?? true) ? thisBrowser() : null;
  const keeps = browser && IndexedDBStorage.isThere;
  const storage = options.storage ?? (keeps ? new IndexedDBStorage() : new MemoryStorage());
  const begin = /** @type {any} */ (initial);
  return new Room({
    id,
    name: `squire-gatherings ${url} ${account}`,
    settings: settingsOf(options),
    environment: thisEnvironment,
    tokens: new Tokens(options.token),
    page: thisPage,
    behaviour: fold
      ? { initial: typeof begin === "function" ? begin() : begin, fold, judge, restore }
      : null,
    optimistic: options.optimistic ?? true,
    since,
    syncs: options.syncs ?? false,
    presence: options.presence === undefined ? null : stateText(options.presence),
    storage,
    client,
    open: () => new Socket(/** @type {string} */ (url), [SUBPROTOCOL]),
    makeTabs: browser ? together(browser) : alone,
  });
}

/** @type {import("./connection.js").Environment} */
const thisEnvironment = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  random: () => Math.random(),
  setTimer: (run, after) => setTimeout(run, after),
  clearTimer: (timer) => clearTimeout(timer),
};

/** @param {string} text @returns {never} */
function wrong(text) {
  throw new GatheringError("bad_setting", text);
}

export { GatheringError, IndexedDBStorage, MemoryStorage, Room };
