/**
 * The protocol's words: messages as types, close codes, and what the codes mean for a client.
 * docs/protocol.md is the text to it.
 */

export const SUBPROTOCOL = "squire.v1+json";

export const CloseCode = Object.freeze({
  LEFT: 1000,
  GOING_AWAY: 1001,
  PROTOCOL_ERROR: 1002,
  TOO_BIG: 1009,
  CRASHED: 1011,
  TRY_AGAIN_LATER: 1013,
  DISPERSED: 4001,
  UNAUTHORIZED: 4003,
  UNRESPONSIVE: 4008,
  REPLACED: 4009,
  MOVED: 4010,
  LOG_REPLACED: 4011,
  RATE_LIMIT: 4029,
});

/**
 * After these ends a client comes back by itself. After any other, also one of a later version,
 * nothing is wrong: the gathering is left alone until there's something to do.
 */
export const COMES_BACK = new Set(["crashed", "shutdown", "moved", "evicted"]);

/** Rules whose end no message moves. */
export const FIXED = new Set(["max_age", "ends_at"]);

export const RATE_LIMITED = "rate_limited";

/** Errors after which the same may be asked again, and is: nothing was wrong with it. */
export const PASSING = new Set([
  "store_unavailable",
  "authentication_unavailable",
  "crashed",
  "dispersed",
  "hall_closed",
  "moved",
  "full",
  RATE_LIMITED,
]);

/** Errors that, without an id, mean that this connection is of no more use. */
export const FOR_THE_WIRE = new Set([
  "join_first",
  "already_joined",
  "crashed",
  "dispersed",
  "hall_closed",
  "moved",
]);

/** Why a join that says what the client has may fail for good. */
export const ANOTHER_LOG = new Set(["log_replaced", "bad_base"]);

/**
 * A type that no version knows. Its answer, `unknown_type`, shows that the server is there, and is
 * no activity: browsers can't ping.
 */
export const PROBE = "ping";

const GATHERING = "{gathering}";
const GATHERING_ID = /^[A-Za-z0-9._~-]{1,128}$/;
const MAX_ID_LENGTH = 128;

/** @typedef {Record<string, any>} Op A JSON object. */
/** @typedef {{ seq: number, head: string }} Proof */
/** @typedef {import("./syncs.js").SyncRun} SyncRun */

/**
 * @typedef {object} Joined
 * @property {"joined"} type
 * @property {string} gathering
 * @property {string} incarnation
 * @property {number} seq
 * @property {string} role
 * @property {string | null} user
 * @property {number | null} idle_timeout
 * @property {number | null} expires_in
 * @property {any} [snapshot]
 * @property {Op[]} [ops]
 * @property {(string | null)[]} [by]
 * @property {string} [epoch]
 * @property {string} [client]
 * @property {number} [max_ops]
 * @property {number[]} [times]
 * @property {SyncRun[]} [syncs]
 * @property {Proof} [proof]
 * @property {number} [rights_expire_in]
 * @property {number} [first_seq]
 * @property {number} [ends_in]
 * @property {number} [ack_delay]
 */

/**
 * @typedef {object} Fetched
 * @property {"fetched"} type
 * @property {string} id
 * @property {number} seq
 * @property {any} [snapshot]
 * @property {Op[]} [ops]
 * @property {(string | null)[]} [by]
 * @property {string} [epoch]
 * @property {number[]} [times]
 * @property {SyncRun[]} [syncs]
 * @property {Proof} [proof]
 * @property {number} [first_seq]
 */

/**
 * @typedef {object} Synced
 * @property {"synced"} type
 * @property {string} id
 * @property {number[]} seqs
 * @property {Op[]} [ops]
 * @property {number} [time]
 * @property {string} [epoch] From another tab: of which incarnation they are.
 */

/**
 * @typedef {object} Conflict
 * @property {"conflict"} type
 * @property {string} id
 * @property {number} seq
 * @property {Op[]} ops
 * @property {(string | null)[]} by
 * @property {string} [message]
 * @property {string} [epoch]
 * @property {number[]} [times]
 * @property {SyncRun[]} [syncs]
 */

/**
 * @typedef {object} Forward Always in the form for several ops: `decode` sees to it.
 * @property {"forward"} type
 * @property {number} seq
 * @property {Op[]} ops
 * @property {(string | null)[]} by
 * @property {string} [epoch]
 * @property {number[]} [times]
 * @property {SyncRun[]} [syncs]
 * @property {boolean[]} [mine] From another tab: which of them this browser submitted.
 */

/** @typedef {{ type: "refreshed", role: string, id?: string, rights_expire_in?: number }} Refreshed */
/** @typedef {{ type: "renew", rights_expire_in: number }} Renew */

/**
 * @typedef {object} PresenceMessage
 * @property {"presence"} type
 * @property {number} version
 * @property {number} count
 * @property {number} anonymous
 * @property {import("./presence.js").Present[]} users
 * @property {string[]} [gone]
 * @property {number} [since]
 */
/** @typedef {{ type: "error", code: string, message: string, id?: string | null }} ErrorMessage */

/**
 * @typedef {object} EndingMessage
 * @property {"ending"} type
 * @property {string} rule
 * @property {number | null} expires_in
 * @property {number | null} at_time
 */

/**
 * @typedef {object} DispersedMessage
 * @property {"dispersed"} type
 * @property {string} gathering
 * @property {string} incarnation
 * @property {string} reason
 * @property {number} seq
 * @property {number} idle_for
 */

/**
 * @typedef {Joined | Fetched | Synced | Conflict | Forward | Refreshed | Renew | ErrorMessage
 *   | EndingMessage | PresenceMessage | DispersedMessage} Incoming
 */

/** @typedef {{ id: string, since?: number, at?: number, at_time?: number }} Fetch */

/**
 * Whether a text may be the id of a sync or a client.
 * @param {unknown} text
 * @returns {text is string}
 */
export function isMessageId(text) {
  return typeof text === "string" && text.length >= 1 && text.length <= MAX_ID_LENGTH;
}

/**
 * Whether a text may name a gathering.
 * @param {unknown} text
 * @returns {text is string}
 */
export function isGatheringId(text) {
  return typeof text === "string" && GATHERING_ID.test(text);
}

/**
 * A random id that nobody guesses.
 * @returns {string}
 */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The URL of a gathering on a server; null if the server's URL can't be one. Like the Python
 * client's: `wss://HOST`, `wss://HOST/prefix`, or with `{gathering}` in its path or query.
 * @param {string | URL} server
 * @param {string} id
 * @returns {string | null}
 */
export function urlOf(server, id) {
  const given = String(server);
  const template = given.includes(GATHERING);
  let url;
  try {
    url = new URL(given.replaceAll(GATHERING, id));
  } catch {
    return null;
  }
  if (url.protocol === "http:") url.protocol = "ws:";
  if (url.protocol === "https:") url.protocol = "wss:";
  if (url.protocol !== "ws:" && url.protocol !== "wss:") return null;
  if (url.username || url.password || url.hash || (url.search && !template)) return null;
  if (!template) url.pathname = `${url.pathname.replace(/\/+$/, "")}/gatherings/${id}`;
  return url.href;
}
