/**
 * The session: keeps a client in one gathering, through lost connections, dispersals, sleep, and
 * pages that stand still. It has one connection at a time, and one timer.
 */

import { Backoff } from "./backoff.js";
import { Diverged, GatheringError, Lost, textOf } from "./errors.js";
import { decode, understand } from "./incoming.js";
import {
  ANOTHER_LOG,
  CloseCode,
  COMES_BACK,
  PASSING,
  PROBE,
  randomId,
  RATE_LIMITED,
} from "./protocol.js";

/** @typedef {import("./exchange.js").Exchange} Exchange */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./tokens.js").Tokens} Tokens */
/** @typedef {import("./protocol.js").Incoming} Incoming */
/** @typedef {import("./protocol.js").DispersedMessage} DispersedMessage */

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
 * @typedef {"connecting" | "open" | "pausing" | "asleep" | "suspended" | "closing" | "closed"} Status
 * What a session does: it connects, is in the gathering, pauses before it tries again, leaves a
 * gathering alone that has dispersed, stands still with its page, says goodbye, or is over.
 */

/** A timer that fires so late says nothing about the server. */
const LATE = 1000;
/** How long what arrived meanwhile has to be heard, after that. */
const GRACE = 1000;
/** For how long a join of ours that was given up may still take our place. */
const OWN_GHOSTS = 60_000;
/** More isn't given to the socket than it can get rid of. */
const MAX_BUFFERED = 256 * 1024;
const BUFFERED_PAUSE = 20;
/** How often timeouts may double. */
const MAX_DOUBLINGS = 5;
/** Close codes that browsers make up themselves. */
const NO_CODE = new Set([1005, 1006, 1015]);

export class Session {
  /** @type {Status} */
  status = "connecting";
  /** @type {GatheringError | null} Why nothing more will be answered. */
  failure = null;
  /** @type {string | null} Why the last attempt failed. */
  trouble = null;
  /** How many wait until this client is in the gathering. */
  rejoining = 0;
  /** @type {Socket | null} */
  #socket = null;
  /** Whether the server has been asked to let us in on this connection. */
  #asked = false;
  /** Grows with each attempt: what an older one brings isn't heard any more. */
  #attempt = 0;
  #isServer = true;
  /** @type {(() => void) | undefined} */
  #stuck;
  #since = 0;
  /** @type {string | null} */
  #asking = null;
  /** @type {string | null} The incarnation to which a join by ourselves comes back. */
  #resume = null;
  #joinedAt = Infinity;
  /** @type {number | null} */
  #outageSince;
  /** Whether we came back at once, the last time. */
  #hurried = false;
  /** When a join of ours was given up that the server may still process. */
  #givenUpAt = -Infinity;
  /** When what is under way has taken too long. */
  #deadline = Infinity;
  #doublings = 0;
  #heardAt = 0;
  /** @type {number | null} When the answer to a probe is late. */
  #probeUntil = null;
  /** @type {any} */
  #timer = null;
  #timerAt = Infinity;
  #backoff;

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
  constructor(parts) {
    const { exchange, settings, environment } = parts;
    this.exchange = exchange;
    this.settings = settings;
    this.environment = environment;
    this.tokens = parts.tokens;
    this.route = parts.route;
    this.isVisible = parts.isVisible;
    this.dispersed = parts.dispersed;
    this.replaced = parts.replaced;
    this.tell = parts.tell;
    this.#outageSince = environment.now();
    this.#backoff = new Backoff(settings.firstPause, settings.maxPause, environment.random);
  }

  get #now() {
    return this.environment.now();
  }

  get isOver() {
    return this.failure !== null;
  }

  /** Whether something is asked for that wasn't answered. */
  get #isWaiting() {
    return this.exchange.requests.isWaiting || this.rejoining > 0;
  }

  // What the program and its page do.

  start() {
    this.#connect();
  }

  /** Something is asked for. */
  asked() {
    if (this.status === "asleep") {
      this.#hurried = false;
      this.#outageSince = this.#now;
      this.#connect();
    } else if (this.status === "open") {
      this.#guarded(() => this.#flush());
    }
  }

  /** The way to the gathering is another one now, or there is one at last. */
  rerouted() {
    if (this.isOver || this.status === "suspended" || this.status === "asleep") return;
    this.#drop(null);
    this.#backoff.reset();
    this.#connect();
  }

  /** Another tab leads from now on. */
  stepDown() {
    this.#guarded(() => this.exchange.requests.setOthersAside());
  }

  /** There may be a network again, or somebody looks at the page: no time to lose. */
  hurry() {
    if (this.status === "pausing") {
      this.#backoff.reset();
      this.#connect();
    } else if (this.status === "open") {
      this.#probe();
    }
  }

  /** Timers will fire rarely: what can be said is said now. */
  hidden() {
    this.exchange.hurryAck();
    if (this.status === "open") this.#guarded(() => this.#flush());
  }

  /** The page is about to stand still. */
  suspend() {
    if (this.isOver || this.status === "suspended" || this.status === "closing") return;
    const wasAsleep = this.status === "asleep";
    this.hidden();
    this.#drop(null);
    this.#setStatus(wasAsleep ? "asleep" : "suspended");
  }

  /** The page goes on. */
  resume() {
    if (this.status !== "suspended") return;
    this.#backoff.reset();
    this.#outageSince = this.#now;
    this.#connect();
  }

  /**
   * Say goodbye, and end.
   * @param {GatheringError} why What all that wait, and all that ask later, are told.
   */
  close(why) {
    if (this.isOver) return;
    const socket = this.#socket;
    const wasIn = this.status === "open";
    this.exchange.hurryAck();
    this.failure = why;
    this.exchange.requests.fail(why);
    if (!wasIn || !socket) {
      this.#end(why);
      return;
    }
    try {
      this.#flush();
      socket.send(JSON.stringify({ type: "leave" }));
    } catch {
      this.#end(why);
      return;
    }
    this.#deadline = this.#now + this.settings.closeTimeout;
    this.#setStatus("closing");
    this.#arm();
  }

  // Connecting.

  #connect() {
    this.#drop(null);
    const attempt = this.#attempt;
    this.#setStatus("connecting");
    if (this.#isHopeless) {
      this.#end(new GatheringError("cannot_connect", this.trouble ?? "no server answers"));
      return;
    }
    const route = this.route();
    if (!route) return;
    this.#stuck = route.stuck;
    this.#deadline = this.#now + this.#stretched(this.settings.connectTimeout);
    this.#arm();
    const isCurrent = () => attempt === this.#attempt;
    this.#approach(route, isCurrent).catch((error) => isCurrent() && this.#failed(error));
  }

  /**
   * Get what a join needs, and connect.
   * @param {Route} route
   * @param {() => boolean} isCurrent
   */
  async #approach(route, isCurrent) {
    await route.prepare();
    const token = isCurrent() && route.isServer ? await this.#askForToken() : null;
    if (!isCurrent()) return;
    const socket = route.open();
    this.#socket = socket;
    this.#isServer = route.isServer;
    socket.onopen = () => {
      if (!isCurrent()) return;
      this.#guarded(() => this.#askToBeLetIn(socket, route.client, token));
    };
    socket.onmessage = ({ data }) => {
      if (isCurrent()) this.#guarded(() => this.#receive(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (isCurrent()) this.#closed(code, reason);
    };
    // A close follows; in Node 20 not, where the socket never was open.
    socket.onerror = () => {
      if (isCurrent() && !this.#asked && this.status === "connecting") this.#closed(1006, "");
    };
  }

  async #askForToken() {
    try {
      return await this.tokens.ask("join");
    } catch (error) {
      if (error instanceof GatheringError) throw error;
      throw new Lost(`there is no token: ${textOf(error)}`);
    }
  }

  /** @param {Socket} socket @param {string} client @param {string | null} token */
  #askToBeLetIn(socket, client, token) {
    this.#since = this.exchange.replica.seq;
    this.#asking = this.#isWaiting ? null : this.#resume;
    this.#asked = true;
    // A tab that leads lets us in when it is in itself.
    const timeout = this.#isServer ? this.#stretched(this.settings.connectTimeout) : Infinity;
    this.#deadline = this.#now + timeout;
    socket.send(JSON.stringify(this.exchange.join(client, token, this.#asking)));
    this.#arm();
  }

  /** @param {Incoming} message */
  #letIn(message) {
    if (message.type === "dispersed" && this.#asking !== null) {
      this.#dispersed(message);
      return;
    }
    if (message.type !== "joined") throw this.#refused(message);
    if (!this.#isServer) this.exchange.replica.doubtAll();
    this.exchange.joined(message, this.#since, this.#now);
    this.#asked = false;
    this.#joinedAt = this.#heardAt = this.#now;
    this.#outageSince = this.trouble = this.#probeUntil = null;
    this.#resume = message.incarnation;
    this.#deadline = Infinity;
    this.#doublings = 0;
    this.#setStatus("open");
  }

  /** @param {Incoming} message */
  #refused(message) {
    if (message.type !== "error") return new Lost(`the server answered with ${message.type}`);
    const { code, message: text } = message;
    if (ANOTHER_LOG.has(code) && this.exchange.began && this.#since) {
      return new Lost(text, CloseCode.LOG_REPLACED);
    }
    if (code === RATE_LIMITED) return new Lost(text, CloseCode.RATE_LIMIT);
    if (PASSING.has(code) || code === "internal") return new Lost(text);
    return new GatheringError(code, text);
  }

  // Being in.

  /** @param {any} data */
  #receive(data) {
    const message = this.#isServer ? decode(data) : understand(data);
    if (this.status === "closing") {
      // What is answered now isn't asked again by the next page.
      if (message && message.type !== "dispersed") this.exchange.take(message, this.#now);
      return;
    }
    this.#heardAt = this.#now;
    this.#probeUntil = null;
    if (!message) return;
    if (this.#asked) this.#letIn(message);
    else if (message.type === "dispersed") this.#dispersed(message);
    else this.exchange.take(message, this.#now);
    if (this.status === "open") this.#flush();
    this.tell();
  }

  #flush() {
    const socket = this.#socket;
    if (!socket || this.status !== "open") return;
    while ((socket.bufferedAmount ?? 0) < MAX_BUFFERED) {
      const text = this.exchange.next(this.#now);
      if (text === null) break;
      socket.send(text);
    }
    this.#arm();
  }

  /** Ask whether the server is there. */
  #probe() {
    if (this.#probeUntil !== null || !this.#socket) return;
    this.#probeUntil = this.#now + this.settings.probeTimeout;
    const text = JSON.stringify({ type: PROBE, id: randomId() });
    this.#guarded(() => this.#socket?.send(text));
    this.#arm();
  }

  #renew() {
    const why = this.tokens.renews ? this.exchange.renewal.due(this.#now) : null;
    if (why === null) return;
    const attempt = this.#attempt;
    const { renewal } = this.exchange;
    this.tokens.ask(why).then(
      (token) => {
        if (attempt !== this.#attempt) return;
        renewal.token(token, this.#now);
        this.#guarded(() => this.#flush());
      },
      (error) => {
        if (attempt !== this.#attempt) return;
        if (error instanceof GatheringError) this.#failed(error);
        else renewal.again(this.#now);
        this.#arm();
      },
    );
  }

  // Endings.

  /** @param {() => void} run */
  #guarded(run) {
    try {
      run();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof Lost) {
      this.#lost(error);
    } else if (error instanceof Diverged) {
      this.exchange.replica.startOver();
      this.#lost(new Lost(error.message));
    } else if (error instanceof GatheringError) {
      this.#end(error);
    } else {
      const text = textOf(error);
      this.#end(new GatheringError("cannot_connect", text, { cause: error }));
    }
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    if (this.status === "closing") {
      this.#end(/** @type {GatheringError} */ (this.failure));
      return;
    }
    const answered = NO_CODE.has(code) ? null : code;
    const text = reason || (answered ? `the server closed with ${code}` : "the connection broke");
    this.#failed(new Lost(text, answered));
  }

  /** @param {DispersedMessage} message */
  #dispersed({ gathering, reason, seq, idle_for: idleFor }) {
    if (gathering !== this.exchange.gathering) throw new Lost("another gathering has dispersed");
    this.#drop(null);
    if (COMES_BACK.has(reason)) {
      this.#again(new Lost(`the gathering ended: ${reason}`), reason === "moved");
      return;
    }
    const notice = { reason, seq, idleFor: idleFor * 1000 };
    this.exchange.replica.changes.end(notice);
    // It's told once: a client that comes back after that comes to the next incarnation.
    this.#resume = null;
    this.#outageSince = this.#now;
    this.dispersed(notice);
    if (this.#isWaiting) {
      this.#again(new Lost(`the gathering ended: ${reason}`), true);
    } else {
      this.#hurried = false;
      this.#setStatus("asleep");
    }
  }

  /** The connection is of no more use. @param {Lost} lost */
  #lost(lost) {
    if (this.isOver) return;
    const hasEnded = this.#joinedAt < Infinity && this.exchange.renewal.hasEnded(this.#now);
    if (this.#asked && lost.code === null) this.#givenUpAt = this.#now;
    try {
      this.#drop(lost.code);
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (lost.code === CloseCode.REPLACED) {
      // Unless it was an earlier attempt of ours.
      if (this.#now - this.#givenUpAt > OWN_GHOSTS) {
        const text = "a newer connection of the same client took its place";
        this.#end(new GatheringError("replaced", text));
        return;
      }
      this.#givenUpAt = -Infinity;
    } else if (lost.code === CloseCode.UNAUTHORIZED) {
      // Rights that have ended may be had anew, with another token.
      if (!(hasEnded && this.tokens.renews)) {
        this.#end(new GatheringError("unauthorized", lost.message));
        return;
      }
    } else if (lost.code === CloseCode.LOG_REPLACED && this.exchange.hasAnything) {
      const text = `the log isn't the one that we know: ${lost.message}`;
      this.exchange.replaced(new GatheringError("log_replaced", text));
      this.replaced();
    }
    this.#again(lost, false);
  }

  /** Come back: at once, if not twice for nothing, or after a pause. @param {Lost} lost @param {boolean} atOnce */
  #again(lost, atOnce) {
    const { progressed } = this.exchange;
    if (progressed) this.#hurried = false;
    const steady = this.#now - this.#joinedAt >= this.settings.maxPause;
    if (steady || (progressed && lost.code !== CloseCode.RATE_LIMIT)) this.#backoff.reset();
    this.exchange.progressed = false;
    this.#joinedAt = Infinity;
    this.trouble = lost.message;
    if (atOnce && !this.#hurried) {
      this.#hurried = true;
      this.#connect();
      return;
    }
    this.#hurried = false;
    this.#deadline = Math.min(this.#now + this.#backoff.next(), this.#patientUntil);
    this.#setStatus("pausing");
    this.#arm();
  }

  get #patientUntil() {
    return (this.#outageSince ?? this.#now) + this.settings.patience;
  }

  get #isHopeless() {
    return this.trouble !== null && this.#now >= this.#patientUntil;
  }

  /** @param {number} timeout */
  #stretched(timeout) {
    const stretched = timeout * 2 ** this.#doublings;
    return Math.max(Math.min(stretched, this.#patientUntil - this.#now), 0) || stretched;
  }

  /** Nothing that this connection brings is heard any more. @param {number | null} code */
  #drop(code) {
    this.#attempt++;
    this.#deadline = Infinity;
    this.#probeUntil = null;
    this.#asked = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
      try {
        socket.close();
      } catch {
        // It never was open.
      }
    }
    if (this.exchange.connected) {
      this.#outageSince = this.#now;
      this.exchange.lost(code, this.#now);
    }
    this.#disarm();
  }

  /** @param {GatheringError} error */
  #end(error) {
    if (this.status === "closed") return;
    this.failure = error;
    this.exchange.requests.fail(error);
    try {
      this.#drop(null);
    } catch {
      // There is an error to tell already.
    }
    this.#setStatus("closed");
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.status = status;
    this.tell();
  }

  // Time.

  #arm() {
    const at = this.#nextAt;
    if (at === this.#timerAt) return;
    this.#disarm();
    if (at === Infinity) return;
    this.#timerAt = at;
    // No timer waits longer than 31 bits.
    const after = Math.min(Math.max(at - this.#now, 0), 2 ** 31 - 1);
    this.#timer = this.environment.setTimer(() => {
      this.#timer = null;
      this.#timerAt = Infinity;
      this.#guarded(() => this.#tick(at));
    }, after);
  }

  #disarm() {
    if (this.#timer !== null) this.environment.clearTimer(this.#timer);
    this.#timer = null;
    this.#timerAt = Infinity;
  }

  get #nextAt() {
    if (this.status !== "open") return this.#deadline;
    const { exchange } = this;
    const blocked = (this.#socket?.bufferedAmount ?? 0) >= MAX_BUFFERED;
    return Math.min(
      blocked ? this.#now + BUFFERED_PAUSE : exchange.nextAt,
      this.#probeUntil ?? this.#silentAt,
      this.tokens.renews && this.#isServer ? exchange.renewal.nextAt : Infinity,
    );
  }

  get #silentAt() {
    return this.isVisible() ? this.#heardAt + this.settings.probeInterval : Infinity;
  }

  /** @param {number} due */
  #tick(due) {
    const now = this.#now;
    if (now - due > LATE) {
      // We were held up, not the server: what it said meanwhile comes first.
      if (this.status === "connecting" || this.#probeUntil !== null) {
        if (this.#deadline <= now) this.#deadline = now + GRACE;
        if (this.#probeUntil !== null) this.#probeUntil = Math.max(this.#probeUntil, now + GRACE);
      } else if (this.status === "open" && this.isVisible()) {
        this.#probe();
      }
    }
    if (this.status === "pausing" && now >= this.#deadline) this.#connect();
    else if (this.status === "closing" && now >= this.#deadline) {
      this.#end(/** @type {GatheringError} */ (this.failure));
    } else if (this.status === "connecting" && now >= this.#deadline) {
      this.#doublings = Math.min(this.#doublings + 1, MAX_DOUBLINGS);
      this.#stuck?.();
      throw new Lost("the server didn't let us in in time");
    } else if (this.status === "open") {
      if (this.#probeUntil !== null && now >= this.#probeUntil) {
        throw new Lost("nothing comes from the server");
      }
      if (now >= this.#silentAt) this.#probe();
      if (this.#isServer) this.#renew();
      this.#flush();
    }
    this.#arm();
  }
}
