/**
 * Incoming: what a server says, as the client understands it; everything else ends in `Lost`.
 *
 * Whatever can be seen to be wrong in a message itself is seen here, and nowhere else.
 */

import { Lost } from "./errors.js";

/** @typedef {import("./protocol.js").Incoming} Incoming */

const MAX_ID_LENGTH = 128;
const MAX_USER_LENGTH = 1000;
const MAX_ROLE_LENGTH = 64;

/**
 * A server's message; null for a type of a later version. Throws `Lost`.
 * @param {unknown} data What a WebSocket brought: text.
 * @returns {Incoming | null}
 */
export function decode(data) {
  if (typeof data !== "string") throw new Lost("the server sent something else than text");
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    throw new Lost("the server sent something else than a message");
  }
  return understand(value);
}

/**
 * A message that came as an object; null for a type of a later version. Throws `Lost`.
 * @param {any} value
 * @returns {Incoming | null}
 */
export function understand(value) {
  if (!isObject(value) || typeof value.type !== "string") {
    throw new Lost("the server sent something else than a message");
  }
  if (!Object.hasOwn(CHECKS, value.type)) return null;
  const message = value.type === "forward" ? batch(value) : value;
  const wrong = CHECKS[message.type](message);
  if (wrong) throw new Lost(`the server sent nonsense: ${wrong}`);
  return message;
}

/** @type {Record<string, (message: any) => string | null>} */
const CHECKS = {
  joined: (message) =>
    wrongJoined(message) ??
    wrongContent(message) ??
    wrongEpoch(message) ??
    wrongTimes(message) ??
    wrongSyncs(message) ??
    wrongProof(message),
  fetched: (message) =>
    wrongId(message.id) ??
    wrongSeq(message.seq) ??
    wrongContent(message) ??
    wrongEpoch(message) ??
    wrongTimes(message) ??
    wrongSyncs(message) ??
    wrongProof(message),
  forward: (message) =>
    wrongForward(message) ??
    wrongBy(message) ??
    wrongEpoch(message) ??
    wrongTimes(message) ??
    wrongSyncs(message),
  synced: (message) => wrongId(message.id) ?? wrongSynced(message),
  conflict: (message) =>
    wrongId(message.id) ??
    wrongSeq(message.seq) ??
    wrongBy(message) ??
    wrongEpoch(message) ??
    wrongTimes(message) ??
    wrongSyncs(message) ??
    (isAbsentOr(isText, message.message) ? null : "a conflict whose message is no text"),
  refreshed: wrongRights,
  renew: (message) => wrongSeconds("rights_expire_in", message.rights_expire_in),
  error: (message) =>
    isText(message.code) && isText(message.message) && (message.id ?? "") === `${message.id ?? ""}`
      ? null
      : "an error without its code",
  ending: wrongEnding,
  presence: wrongPresence,
  dispersed: (message) =>
    isText(message.gathering) && isText(message.reason)
      ? (wrongSeq(message.seq) ?? wrongSeconds("idle_for", message.idle_for))
      : "an end without its reason",
};

/**
 * A forward in the form for several ops.
 * @param {any} message
 */
function batch(message) {
  const { op, ops, by, time, sync, ...rest } = message;
  if (ops === undefined && isObject(op) && !Array.isArray(by)) {
    const times = time !== undefined && { times: [time] };
    const syncs = sync !== undefined && { syncs: [sync] };
    return { ...rest, by: [by], ops: [op], ...times, ...syncs };
  }
  if (op === undefined && Array.isArray(ops) && Array.isArray(by)) return message;
  throw new Lost("the server sent a forward whose fields contradict each other");
}

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @param {unknown} value @returns {value is string} */
const isText = (value) => typeof value === "string";
/** @param {unknown} value */
const isName = (value) => value === null || (isText(value) && value.length <= MAX_USER_LENGTH);
/** @param {unknown} value @returns {value is number} */
const isFinite = (value) => typeof value === "number" && Number.isFinite(value);
/** @param {unknown} value @returns {value is number} */
const isSeq = (value) => Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;

/**
 * @param {(value: any) => boolean} check
 * @param {unknown} value
 */
const isAbsentOr = (check, value) => value === undefined || check(value);

/** @param {any} id */
const wrongId = (id) => (isText(id) && id ? null : "an answer without its id");

/** @param {any} seq */
const wrongSeq = (seq) => (isSeq(seq) ? null : `the seq ${seq}`);

/** @param {string} name @param {any} value */
const wrongSeconds = (name, value) =>
  isFinite(value) && value >= 0 ? null : `${name} is ${value}`;

/** @param {any} message */
const wrongEpoch = ({ epoch }) =>
  isAbsentOr((value) => isText(value) && value.length <= MAX_ID_LENGTH, epoch)
    ? null
    : "an epoch that is no id";

/** @param {any} message */
const wrongProof = ({ proof }) =>
  isAbsentOr((value) => isObject(value) && isSeq(value.seq) && isText(value.head), proof)
    ? null
    : "a proof that is none";

/** @param {any} message */
function wrongBy({ ops, by }) {
  if (!Array.isArray(ops) || !Array.isArray(by)) return "no ops, or no `by`";
  if (!ops.every(isObject)) return "an op that is no object";
  if (ops.length !== by.length) return `${by.length} in \`by\` for ${ops.length} ops`;
  return by.every(isName) ? null : "somebody whose name is no text";
}

/** @param {any} message */
function wrongForward({ seq, ops }) {
  if (!ops.length) return "no op in a forward";
  return isSeq(seq) && seq > 0 && isSeq(seq + ops.length) ? null : `the seq ${seq}`;
}

/** @param {any} message */
function wrongTimes({ times, ops }) {
  if (times === undefined) return null;
  if (!Array.isArray(times) || times.length !== (ops?.length ?? 0)) return "times without ops";
  let before = 0;
  for (const time of times) {
    if (!isSeq(time) || time < before) return `the time ${time} after ${before}`;
    before = time;
  }
  return null;
}

/** @param {any} message */
function wrongSyncs({ syncs, ops }) {
  if (syncs === undefined) return null;
  if (!Array.isArray(syncs) || syncs.length > (ops?.length ?? 0)) return "syncs without ops";
  let before = 0;
  for (const sync of syncs) {
    if (!Array.isArray(sync) || sync.length < 3) return "a sync that is none";
    const [first, count, id] = sync;
    if (!isSeq(first) || first <= before || !isSeq(count) || count < 1 || !isSeq(first + count)) {
      return `a sync from the op ${first} on, after one up to ${before}`;
    }
    if (!isText(id) || !id || id.length > MAX_ID_LENGTH) return "a sync without a proper id";
    before = first + count - 1;
  }
  return null;
}

/** @param {any} message */
function wrongPresence({ version, since, count, anonymous, users, gone }) {
  if (!isSeq(version) || version < 1 || !isAbsentOr((value) => isSeq(value) && value < version, since)) {
    return `a presence of version ${version} since ${since}`;
  }
  if (!isSeq(count) || !isSeq(anonymous)) return `a presence of ${count} users`;
  if (!Array.isArray(users)) return "a presence without users";
  for (const one of users) {
    if (!isObject(one) || !isText(one.user) || !one.user || one.user.length > MAX_USER_LENGTH) {
      return "a presence of a user without a proper name";
    }
    if (!isSeq(one.connections) || one.connections < 1) {
      return `a user with ${one.connections} connections`;
    }
    if (!isObject(one.state)) return "a user without a state";
  }
  if (new Set(users.map((one) => one.user)).size < users.length) return "a presence with a user twice";
  if (!isAbsentOr((value) => Array.isArray(value) && value.every(isText), gone)) return "odd names";
  return gone?.length && since === undefined ? "a presence that is whole, and without some" : null;
}

/** @param {any} message */
function wrongSynced({ seqs, ops, time }) {
  if (!Array.isArray(seqs) || !seqs.length) return "a sync without seqs";
  const follow = seqs.every((seq, index) => isSeq(seq) && seq === seqs[0] + index);
  if (!follow || seqs[0] < 1) return "seqs that don't follow each other";
  if (!isAbsentOr(isSeq, time)) return `the time ${time}`;
  if (!isAbsentOr((value) => Array.isArray(value) && value.every(isObject), ops)) return "odd ops";
  return ops && ops.length !== seqs.length ? `${ops.length} ops under ${seqs.length} seqs` : null;
}

/** @param {any} message */
function wrongContent({ ops, by, seq, snapshot, first_seq: first }) {
  if (!isAbsentOr(isSeq, first)) return `first_seq is ${first}`;
  if (ops === undefined && by === undefined) {
    return snapshot === undefined ? "neither ops nor a snapshot" : null;
  }
  if (snapshot !== undefined) return "both ops and a snapshot";
  return wrongBy({ ops, by }) ?? (ops.length > seq ? `${ops.length} ops up to ${seq}` : null);
}

/** @param {any} message */
function wrongRights({ role, rights_expire_in: seconds }) {
  if (!isText(role) || !role || role.length > MAX_ROLE_LENGTH) return "a role without a name";
  return seconds === undefined ? null : wrongSeconds("rights_expire_in", seconds);
}

/** @param {any} message */
function wrongJoined(message) {
  const { gathering, incarnation, max_ops: maxOps, idle_timeout: idle, client, user } = message;
  if (!isText(gathering)) return "a gathering without an id";
  if (!isText(incarnation) || !incarnation || incarnation.length > MAX_ID_LENGTH) {
    return "an incarnation without a proper id";
  }
  if (!isAbsentOr((value) => isSeq(value) && value >= 1, maxOps)) return `max_ops is ${maxOps}`;
  if (idle !== null && !(isFinite(idle) && idle >= 0)) return `idle_timeout is ${idle}`;
  // A gathering that is about to end may be late.
  if (message.expires_in !== null && !isFinite(message.expires_in)) return "an odd expires_in";
  if (!isAbsentOr(isFinite, message.ends_in)) return `ends_in is ${message.ends_in}`;
  if (!isAbsentOr((value) => isFinite(value) && value >= 0, message.ack_delay)) {
    return `ack_delay is ${message.ack_delay}`;
  }
  if (!isName(user) || !isAbsentOr(isText, client)) return "a user whose name is no text";
  return wrongRights(message) ?? wrongSeq(message.seq);
}

/** @param {any} message */
function wrongEnding({ rule, expires_in: left, at_time: at }) {
  if (!isText(rule) || !rule || rule.length > MAX_ID_LENGTH) return "an end without its rule";
  if (left === null && at === null) return null;
  return isFinite(at) ? wrongSeconds("expires_in", left) : "an end without its time";
}
