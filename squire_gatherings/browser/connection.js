/**
 * The connection: one way to the gathering, from the token that it needs until it is dropped. It
 * knows when it takes too long, and asks the server whether it is there.
 */

import { GatheringError, Lost, textOf } from "./errors.js";
import { decode, understand } from "./incoming.js";
import { PROBE, randomId } from "./protocol.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./protocol.js").Incoming} Incoming */

/**
 * What of a WebSocket is used.
 * @typedef {object} Socket
 * @property {number} [bufferedAmount]
 * @property {((event: any) => void) | null} onopen
 * @property {((event: { data: any }) => void) | null} onmessage
 * @property {((event: { code: number, reason: string }) => void) | null} onclose
 * @property {((event: any) => void) | null} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */

/**
 * A way to the gathering: to its server, or to a tab that has one.
 * @typedef {object} Route
 * @property {boolean} isServer
 * @property {string} client The id that a join says.
 * @property {() => Promise<void>} prepare What must be read before one goes there.
 * @property {() => Socket} open
 * @property {() => void} [stuck] Nothing is heard on it.
 */

/**
 * What a session needs of the world.
 * @typedef {object} Environment
 * @property {() => number} now Milliseconds by a clock that is never set.
 * @property {() => number} wallTime Milliseconds since 1970.
 * @property {() => number} random
 * @property {(run: () => void, after: number) => any} setTimer
 * @property {(timer: any) => void} clearTimer
 */

/**
 * @typedef {object} Handlers What is told, until the connection is dropped.
 * @property {(token: string | null) => void} opened It can be asked to be let in.
 * @property {(message: Incoming | null) => void} heard Null for something of a later version.
 * @property {(error: unknown) => void} failed
 */

/** What arrived while we were held up has so long to be heard. */
const GRACE = 1000;
/** More isn't given to the socket than it can get rid of. */
const MAX_BUFFERED = 256 * 1024;
const BUFFERED_PAUSE = 20;
/** Close codes that browsers make up themselves. */
const NO_CODE = new Set([1005, 1006, 1015]);

export class Connection {
  /** Whether the server has been asked to let us in. */
  hasAsked = false;
  /** Whether it has done so. */
  isIn = false;
  /** @type {Socket | null} */
  #socket = null;
  #isDropped = false;
  /** When being let in takes too long. */
  #deadline;
  #heardAt = 0;
  /** @type {number | null} When the answer to a probe is late. */
  #probeUntil = null;

  /**
   * @param {object} parts
   * @param {Route} parts.route
   * @param {Settings} parts.settings
   * @param {Environment} parts.environment
   * @param {() => boolean} parts.isVisible
   * @param {number} parts.timeout For how long it may take to connect, and then to be let in.
   * @param {Handlers} parts.handlers
   */
  constructor({ route, settings, environment, isVisible, timeout, handlers }) {
    this.route = route;
    this.settings = settings;
    this.environment = environment;
    this.isVisible = isVisible;
    this.timeout = timeout;
    this.handlers = handlers;
    this.#deadline = this.#now + timeout;
  }

  get #now() {
    return this.environment.now();
  }

  /**
   * Get what a join needs, and connect. Never rejects.
   * @param {() => Promise<string | null>} askForToken
   */
  async open(askForToken) {
    const { route } = this;
    try {
      await route.prepare();
      if (this.#isDropped) return;
      const token = route.isServer ? await tokenOf(askForToken) : null;
      if (this.#isDropped) return;
      this.#listen(route.open(), token);
    } catch (error) {
      if (!this.#isDropped) this.handlers.failed(error);
    }
  }

  /** @param {Socket} socket @param {string | null} token */
  #listen(socket, token) {
    const { handlers } = this;
    this.#socket = socket;
    socket.onopen = () => handlers.opened(token);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    // A close follows; in Node 20 not, where the socket never was open.
    socket.onerror = () => this.hasAsked || this.#closed(1006, "");
  }

  /** @param {any} data */
  #receive(data) {
    this.#heardAt = this.#now;
    this.#probeUntil = null;
    let message;
    try {
      message = this.route.isServer ? decode(data) : understand(data);
    } catch (error) {
      this.handlers.failed(error);
      return;
    }
    this.handlers.heard(message);
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const said = NO_CODE.has(code) ? null : code;
    const text = reason || (said ? `the server closed with ${code}` : "the connection broke");
    this.handlers.failed(new Lost(text, said));
  }

  /** Ask to be let in. @param {object} join */
  ask(join) {
    this.hasAsked = true;
    // A tab that leads lets us in when it is in itself.
    this.#deadline = this.route.isServer ? this.#now + this.timeout : Infinity;
    this.send(JSON.stringify(join));
  }

  /** The server has let us in. */
  letIn() {
    this.isIn = true;
    this.#deadline = Infinity;
    this.#heardAt = this.#now;
  }

  /** @param {string} text */
  send(text) {
    this.#socket?.send(text);
  }

  /** Whether the socket has as much to send as it is given. */
  get isFull() {
    return (this.#socket?.bufferedAmount ?? 0) >= MAX_BUFFERED;
  }

  /** Ask whether the server is there. */
  probe() {
    if (this.#probeUntil !== null) return;
    this.#probeUntil = this.#now + this.settings.probeTimeout;
    this.send(JSON.stringify({ type: PROBE, id: randomId() }));
  }

  /** When `tick` is due, if nothing happens before. */
  get nextAt() {
    const full = this.isFull ? this.#now + BUFFERED_PAUSE : Infinity;
    return Math.min(this.#deadline, full, this.#probeUntil ?? this.#silentAt);
  }

  get #silentAt() {
    if (!this.isIn || !this.isVisible()) return Infinity;
    return this.#heardAt + this.settings.probeInterval;
  }

  /**
   * See whether something takes too long. Throws `Lost`.
   * @param {boolean} isLate Whether we were held up: then it isn't the server's fault, and what it
   *   said meanwhile is heard first.
   */
  tick(isLate) {
    const now = this.#now;
    if (isLate) {
      if (this.#deadline <= now) this.#deadline = now + GRACE;
      if (this.#probeUntil !== null) this.#probeUntil = Math.max(this.#probeUntil, now + GRACE);
      else if (this.isIn && this.isVisible()) this.probe();
    }
    if (now >= this.#deadline) {
      this.route.stuck?.();
      throw new Lost("the server didn't let us in in time");
    }
    if (this.#probeUntil !== null && now >= this.#probeUntil) {
      throw new Lost("nothing comes from the server");
    }
    if (now >= this.#silentAt) this.probe();
  }

  /** Nothing that it brings is heard any more. */
  drop() {
    this.#isDropped = true;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    try {
      socket.close();
    } catch {
      // It never was open.
    }
  }
}

/**
 * What the program throws is a pause, unless it's one of our errors.
 * @param {() => Promise<string | null>} ask
 */
async function tokenOf(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof GatheringError) throw error;
    throw new Lost(`there is no token: ${textOf(error)}`);
  }
}
