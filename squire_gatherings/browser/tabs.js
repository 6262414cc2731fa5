/**
 * Tabs: of all tabs of a browser that are in the same room, one leads. It has the connection, and
 * the others go through it. A lock says who leads: the browser gives it to the next one when a tab
 * is closed, crashes, or stands still.
 */

import { Relay } from "./relay.js";
import { TabSocket } from "./tabsocket.js";

/** @typedef {import("./connection.js").Route} Route */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").Status} Status */

/**
 * @typedef {object} TabsParts
 * @property {string} name What the room is called in this browser.
 * @property {string} tab A random name of this tab.
 * @property {Session} session
 * @property {Route} server The way to the server.
 */

/**
 * @typedef {object} Tabs
 * @property {boolean} leads Whether this tab has the connection.
 * @property {Route | null} route The way to the gathering; null while nobody is known to lead.
 * @property {Status | null} status What the one that leads does; null where that is this one.
 * @property {Relay} relay
 * @property {() => void} start
 * @property {() => void} stop
 */

/** @typedef {(parts: TabsParts) => Tabs} MakeTabs */

/** @implements {Tabs} */
class Alone {
  leads = true;
  /** @type {Status | null} */
  status = null;

  /** @param {TabsParts} parts */
  constructor({ session, server }) {
    let isReady = false;
    this.route = {
      ...server,
      get client() {
        return server.client;
      },
      prepare: async () => {
        if (!isReady) await server.prepare();
        isReady = true;
      },
    };
    this.relay = new Relay(session, () => {}, () => {}, () => 0);
  }

  start() {}

  stop() {}
}

/**
 * What tabs need of their browser.
 * @typedef {object} Browser
 * @property {Pick<LockManager, "request">} locks
 * @property {(name: string) => Pick<BroadcastChannel, "onmessage" | "postMessage" | "close">} open
 */

/** @implements {Tabs} */
class Together {
  leads = false;
  /** @type {Status | null} */
  status = null;
  relay;
  /** @type {ReturnType<Browser["open"]> | null} */
  #channel = null;
  /** @type {string | null} */
  #leader = null;
  /** @type {TabSocket | null} */
  #socket = null;
  #sockets = 0;
  /** @type {AbortController | null} */
  #asking = null;
  /** @type {(() => void) | null} Gives the lock back. */
  #release = null;
  #parts;
  #browser;
  /** @type {Route} The way to the server of a tab that leads. */
  #server;

  /** @param {TabsParts} parts @param {Browser} browser */
  constructor(parts, browser) {
    this.#parts = parts;
    this.#browser = browser;
    const { server, session } = parts;
    this.#server = {
      isServer: true,
      get client() {
        return server.client;
      },
      open: server.open,
      prepare: async () => {
        if (this.relay.isReady) return;
        await server.prepare();
        if (!this.leads) return;
        session.exchange.replica.doubtAll();
        this.relay.isReady = true;
      },
    };
    const { now } = parts.session.environment;
    /** @type {import("./relay.js").Post} */
    const post = (to, socket, what) => this.#post({ to, socket, ...what });
    this.relay = new Relay(parts.session, post, (what) => this.#post(what), now);
  }

  start() {
    if (this.#channel) return;
    this.#channel = this.#browser.open(this.#parts.name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#ask({});
    this.#post({ kind: "who" });
  }

  stop() {
    if (!this.#channel) return;
    this.#post({ kind: "bye" });
    this.#channel.close();
    this.#channel = null;
    this.#asking?.abort();
    this.#stepDown();
    this.#leader = this.#socket = null;
  }

  /** @returns {Route | null} */
  get route() {
    if (this.leads) return this.#server;
    const leader = this.#leader;
    if (leader === null) return null;
    const { tab } = this.#parts;
    return {
      isServer: false,
      client: tab,
      prepare: async () => {},
      stuck: () => this.#ask({ steal: true }),
      open: () => {
        const socket = ++this.#sockets;
        this.#socket = new TabSocket(tab, (what) => this.#post({ to: leader, socket, ...what }));
        return this.#socket;
      },
    };
  }

  /** @param {LockOptions} options */
  #ask(options) {
    const asking = (this.#asking = new AbortController());
    const wanted = options.steal ? options : { signal: asking.signal };
    const held = () => this.#lead(asking);
    this.#browser.locks.request(this.#parts.name, wanted, held).catch(() => {
      // It was given up, or taken away: then another one leads.
      if (this.#asking === asking && this.leads) {
        this.#stepDown();
        this.#ask({});
        this.#parts.session.rerouted();
        this.#post({ kind: "who" });
      }
    });
  }

  /** Lead for as long as the promise isn't resolved. @param {AbortController} asking */
  async #lead(asking) {
    if (asking.signal.aborted || asking !== this.#asking) return;
    const released = new Promise((resolve) => (this.#release = () => resolve(null)));
    this.leads = true;
    this.#leader = this.#socket = this.status = null;
    this.#post({ kind: "lead" });
    this.#parts.session.rerouted();
    await released;
  }

  #stepDown() {
    if (this.leads) this.#parts.session.stepDown();
    this.leads = this.relay.isReady = false;
    this.#release?.();
    this.#release = null;
  }

  /** @param {object} what */
  #post(what) {
    this.#channel?.postMessage({ from: this.#parts.tab, ...what });
  }

  /** @param {any} said */
  #hear(said) {
    const { kind, from, to, socket } = said;
    if (to !== undefined && to !== this.#parts.tab) return;
    if (this.leads) {
      if (kind === "who") this.#post({ kind: "lead" });
      else if (kind === "open") this.relay.open(from, socket);
      else if (kind === "say") this.relay.say(from, socket, said.text);
      else if (kind === "close") this.relay.close(from, socket);
      else if (kind === "bye") this.relay.close(from);
      return;
    }
    if (kind === "lead" && from !== this.#leader) {
      this.#leader = from;
      this.#parts.session.rerouted();
    }
    if (from !== this.#leader) return;
    if (kind === "bye") {
      this.#leader = null;
      this.#socket?.shut(1006, "the tab that led is gone");
    } else if (kind === "status") {
      this.status = said.status;
      this.#parts.session.goesOnIn(said.incarnation);
    } else if (kind === "feed") {
      this.#socket?.feed(said.released, said.epoch);
    } else if (socket === this.#sockets) {
      if (kind === "opened") {
        this.status = said.status;
        this.#socket?.opened();
      } else if (kind === "hear") this.#socket?.hear(said.message);
      else if (kind === "shut") this.#socket?.shut(said.code, said.reason ?? "");
    }
  }
}

/** @returns {Browser | null} The browser in whose tab this is, if its tabs can go together. */
export function thisBrowser() {
  const { document, navigator, BroadcastChannel } = globalThis;
  if (!document || !navigator?.locks || !BroadcastChannel) return null;
  return { locks: navigator.locks, open: (name) => new BroadcastChannel(name) };
}

/** @param {TabsParts} parts @returns {Tabs} */
export const alone = (parts) => new Alone(parts);

/** @param {Browser} browser @returns {MakeTabs} */
export const together = (browser) => (parts) => new Together(parts, browser);
