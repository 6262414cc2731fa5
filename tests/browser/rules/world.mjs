/** A browser without a window: tabs, locks and channels as browsers have them, and rooms in them. */

import { Room } from "../../../squire_gatherings/browser/room.js";
import { settingsOf } from "../../../squire_gatherings/browser/settings.js";
import { MemoryStorage } from "../../../squire_gatherings/browser/storage.js";
import { alone, together } from "../../../squire_gatherings/browser/tabs.js";
import { Tokens } from "../../../squire_gatherings/browser/tokens.js";

/** Web Locks, of which one at a time is held. */
class Locks {
  #queue = [];

  request(name, { signal, steal }, run) {
    return new Promise((resolve, reject) => {
      const wish = { run, resolve, reject };
      if (steal) {
        this.#queue[0]?.reject(new Error("stolen"));
        this.#queue.splice(0, 1, wish);
        this.#grant();
        return;
      }
      this.#queue.push(wish);
      signal?.addEventListener("abort", () => {
        if (this.#queue[0] === wish) return;
        this.#queue = this.#queue.filter((one) => one !== wish);
        reject(signal.reason);
      });
      if (this.#queue[0] === wish) queueMicrotask(() => this.#queue[0] === wish && this.#grant());
    });
  }

  #grant() {
    const wish = this.#queue[0];
    if (!wish) return;
    wish.run().then((value) => {
      wish.resolve(value);
      if (this.#queue[0] !== wish) return;
      this.#queue.shift();
      this.#grant();
    });
  }
}

/** One browser: what is kept in it, and its tabs. */
export class Browser {
  storage = new MemoryStorage();
  #locks = new Locks();
  #channels = new Set();
  tabs = new Set();

  constructor(server, clock, random) {
    this.server = server;
    this.clock = clock;
    this.random = random;
  }

  #open(page) {
    const channels = this.#channels;
    const { clock } = this;
    const channel = {
      onmessage: null,
      page,
      postMessage: (data) => {
        const copy = structuredClone(data);
        for (const other of channels) {
          if (other === channel) continue;
          const deliver = () => {
            if (!channels.has(other)) return;
            // What hangs is told later.
            if (other.page.hangs) clock.setTimer(deliver, 10);
            else other.onmessage?.({ data: copy });
          };
          clock.setTimer(deliver, 1);
        }
      },
      close: () => channels.delete(channel),
    };
    channels.add(channel);
    return channel;
  }

  /** Open the page in a tab: a room, its page, and what it was told. */
  tab({ goTogether = true, behaviour = null, settings = {}, ...more } = {}) {
    const page = { visible: true, handlers: null, hangs: false };
    const environment = {
      now: () => this.clock.now,
      wallTime: () => 1_700_000_000_000 + this.clock.now,
      random: this.random,
      setTimer: (run, after) => this.clock.setTimer(run, after),
      clearTimer: (id) => this.clock.clearTimer(id),
    };
    const browser = { locks: this.#locks, open: () => this.#open(page) };
    const room = new Room({
      id: "room",
      name: "room",
      settings: settingsOf(settings),
      environment,
      tokens: new Tokens(more.token ?? null),
      page: {
        isVisible: () => page.visible,
        watch: (handlers) => {
          page.handlers = handlers;
          return () => (page.handlers = null);
        },
      },
      behaviour,
      optimistic: more.optimistic ?? true,
      since: more.since ?? null,
      syncs: more.syncs ?? true,
      presence: more.presence === undefined ? null : JSON.stringify(more.presence),
      storage: goTogether ? this.storage : new MemoryStorage(),
      client: more.client ?? null,
      open: () => this.server.connect(),
      makeTabs: goTogether ? together(browser) : alone,
    });
    return { room, page, browser: this };
  }
}
