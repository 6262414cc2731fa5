/**
 * The session: keeps a client in one gathering, through lost connections, dispersals, sleep, and
 * pages that stand still. It has one connection at a time, and one timer.
 */

import { Backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { Diverged, GatheringError, Lost, textOf } from "./errors.js";
import { ANOTHER_LOG, CloseCode, COMES_BACK, PASSING, RATE_LIMITED } from "./protocol.js";

/** @typedef {import("./connection.js").Environment} Environment */
/** @typedef {import("./connection.js").Route} Route */
/** @typedef {import("./exchange.js").Exchange} Exchange */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./tokens.js").Tokens} Tokens */
/** @typedef {import("./protocol.js").Incoming} Incoming */
/** @typedef {import("./protocol.js").DispersedMessage} DispersedMessage */

/**
 * @typedef {"connecting" | "open" | "pausing" | "asleep" | "suspended" | "closing" | "closed"} Status
 * What a session does: it connects, is in the gathering, pauses before it tries again, leaves a
 * gathering alone that has dispersed, stands still with its page, says goodbye, or is over.
 */

/** A timer that fires so late says nothing about the server. */
const LATE = 1000;
/** For how long a join of ours that was given up may still take our place. */
const OWN_GHOSTS = 60_000;
/** How often timeouts may double. */
const MAX_DOUBLINGS = 5;

export class Session {
  /** @type {Status} */
  status = "connecting";
  /** @type {GatheringError | null} Why nothing more will be answered. */
  failure = null;
  /** @type {string | null} Why the last attempt failed. */
  trouble = null;
  /** How many wait until this client is in the gathering. */
  rejoining = 0;
  /** @type {Connection | null} */
  #connection = null;
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
  /** When a pause, or saying goodbye, has taken long enough. */
  #deadline = Infinity;
  #doublings = 0;
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

  /** Something may go out that wakes no gathering. */
  said() {
    if (this.status === "open") this.#guarded(() => this.#flush());
  }

  /** The way to the gathering is another one now, or there is one at last. */
  rerouted() {
    if (this.isOver || this.status === "suspended" || this.status === "asleep") return;
    this.#drop(null);
    this.#backoff.reset();
    this.#connect();
  }

  /** The tab that leads is in this incarnation by now. @param {string | null} incarnation */
  goesOnIn(incarnation) {
    if (this.status === "open") this.exchange.incarnation = this.#resume = incarnation;
    this.tell();
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
      this.#guarded(() => this.#connection?.probe());
      this.#arm();
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
    const connection = this.#connection;
    const wasIn = this.status === "open";
    this.exchange.hurryAck();
    this.failure = why;
    this.exchange.requests.fail(why);
    if (!wasIn || !connection) {
      this.#end(why);
      return;
    }
    try {
      this.#flush();
      connection.send(JSON.stringify({ type: "leave" }));
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
    this.#setStatus("connecting");
    if (this.#isHopeless) {
      this.#end(new GatheringError("cannot_connect", this.trouble ?? "no server answers"));
      return;
    }
    const route = this.route();
    if (!route) return;
    const { settings, environment, isVisible } = this;
    const timeout = this.#stretched(settings.connectTimeout);
    /** @type {import("./connection.js").Handlers} */
    const handlers = {
      opened: (token) => this.#guarded(() => this.#askToBeLetIn(connection, token)),
      heard: (message) => this.#guarded(() => this.#hear(connection, message)),
      failed: (error) => this.#failed(error),
    };
    const parts = { route, settings, environment, isVisible, timeout, handlers };
    const connection = new Connection(parts);
    this.#connection = connection;
    this.#arm();
    connection.open(() => this.tokens.ask("join"));
  }

  /** @param {Connection} connection @param {string | null} token */
  #askToBeLetIn(connection, token) {
    this.#since = this.exchange.replica.seq;
    this.#asking = this.#isWaiting ? null : this.#resume;
    connection.ask(this.exchange.join(connection.route.client, token, this.#asking));
    this.#arm();
  }

  /** @param {Connection} connection @param {Incoming} message */
  #letIn(connection, message) {
    if (message.type === "dispersed" && this.#asking !== null) {
      // It's told once: a client that comes back after that comes to the next incarnation.
      this.#resume = null;
      this.#dispersed(message);
      return;
    }
    if (message.type !== "joined") throw this.#refused(message);
    if (!connection.route.isServer) this.exchange.replica.doubtAll();
    this.exchange.joined(message, this.#since, this.#now);
    connection.letIn();
    this.#joinedAt = this.#now;
    this.#outageSince = this.trouble = null;
    this.#resume = message.incarnation;
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

  /** @param {Connection} connection @param {Incoming | null} message */
  #hear(connection, message) {
    if (!message) return;
    if (this.status === "closing") {
      // What is answered now isn't asked again by the next page.
      if (message.type !== "dispersed") this.exchange.take(message, this.#now);
      return;
    }
    if (!connection.isIn) this.#letIn(connection, message);
    else if (message.type === "dispersed") this.#dispersed(message);
    else this.exchange.take(message, this.#now);
    if (this.status === "open") this.#flush();
    this.tell();
  }

  #flush() {
    const connection = this.#connection;
    if (!connection || this.status !== "open") return;
    while (!connection.isFull) {
      const text = this.exchange.next(this.#now);
      if (text === null) break;
      connection.send(text);
    }
    this.#arm();
  }

  #renew() {
    const why = this.tokens.renews ? this.exchange.renewal.due(this.#now) : null;
    if (why === null) return;
    const connection = this.#connection;
    const { renewal } = this.exchange;
    this.tokens.ask(why).then(
      (token) => {
        if (connection !== this.#connection) return;
        renewal.token(token, this.#now);
        this.#guarded(() => this.#flush());
      },
      (error) => {
        if (connection !== this.#connection) return;
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
    if (this.status === "closing") {
      this.#end(/** @type {GatheringError} */ (this.failure));
    } else if (error instanceof Lost) {
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
    const connection = this.#connection;
    const wasAsking = connection?.hasAsked && !connection.isIn;
    if (wasAsking && lost.code === null) this.#givenUpAt = this.#now;
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
    this.#again(lost, lost.code === CloseCode.MOVED);
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
    this.#deadline = Infinity;
    this.#connection?.drop();
    this.#connection = null;
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
    const connection = this.#connection;
    if (!connection || this.status === "closing") return this.#deadline;
    if (this.status !== "open") return connection.nextAt;
    const { nextAt, renewal } = this.exchange;
    const renews = this.tokens.renews && connection.route.isServer;
    return Math.min(
      connection.nextAt,
      connection.isFull ? Infinity : nextAt,
      renews ? renewal.nextAt : Infinity,
    );
  }

  /** @param {number} due */
  #tick(due) {
    const connection = this.#connection;
    if (this.status === "pausing") {
      this.#connect();
    } else if (this.status === "closing") {
      this.#end(/** @type {GatheringError} */ (this.failure));
    } else if (connection) {
      const wasIn = connection.isIn;
      try {
        connection.tick(this.#now - due > LATE);
      } catch (error) {
        if (!wasIn) this.#doublings = Math.min(this.#doublings + 1, MAX_DOUBLINGS);
        throw error;
      }
      if (wasIn && connection.route.isServer) this.#renew();
      this.#flush();
    }
    this.#arm();
  }
}
