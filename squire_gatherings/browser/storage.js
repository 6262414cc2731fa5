/**
 * Storage: where a client keeps, beyond the life of its page, what isn't answered, and the id by
 * which the server knows that it is the same client. In IndexedDB, or in memory.
 */

/**
 * @typedef {object} Kept A sync that isn't answered.
 * @property {string} room What it belongs to: a server, a gathering, an account.
 * @property {number} at Its place in the order.
 * @property {string} id
 * @property {number} base
 * @property {string} text Its ops as JSON.
 * @property {string | null | undefined} user
 * @property {string} tab
 */

/**
 * Any object that has these can be the `storage` of a room. What they reject with is told as a
 * `warning`; the room goes on without.
 * @typedef {object} Storage
 * @property {(room: string) => Promise<{ client: string | null, syncs: Kept[] }>} load What is kept
 *   for a room; the syncs in their order.
 * @property {(room: string, client: string) => Promise<void>} keepClient
 * @property {(sync: Kept) => Promise<void>} put
 * @property {(sync: Kept) => Promise<void>} drop
 * @property {() => void} [close]
 */

/**
 * Keeps everything as long as the page, or the program, lives.
 * @implements {Storage}
 */
export class MemoryStorage {
  /** @type {Map<string, string>} */
  #clients = new Map();
  /** @type {Map<string, Map<string, Kept>>} */
  #syncs = new Map();

  /** @param {string} room */
  async load(room) {
    const syncs = [...(this.#syncs.get(room)?.values() ?? [])].sort((a, b) => a.at - b.at);
    return { client: this.#clients.get(room) ?? null, syncs };
  }

  /** @param {string} room @param {string} client */
  async keepClient(room, client) {
    this.#clients.set(room, client);
  }

  /** @param {Kept} sync */
  async put(sync) {
    const syncs = this.#syncs.get(sync.room) ?? new Map();
    this.#syncs.set(sync.room, syncs);
    syncs.set(sync.id, sync);
  }

  /** @param {Kept} sync */
  async drop(sync) {
    this.#syncs.get(sync.room)?.delete(sync.id);
  }
}

const CLIENTS = "clients";
const SYNCS = "syncs";

/**
 * Keeps everything in the browser, for all pages of the same origin.
 * @implements {Storage}
 */
export class IndexedDBStorage {
  /** @type {Promise<IDBDatabase> | null} */
  #database = null;

  /** @param {string} [name] Of the database. */
  constructor(name = "squire-gatherings") {
    this.name = name;
  }

  /** Whether there is such a thing here. */
  static get isThere() {
    return typeof indexedDB !== "undefined";
  }

  /** @param {string} room */
  async load(room) {
    const database = await this.#open();
    const transaction = database.transaction([CLIENTS, SYNCS]);
    const client = result(transaction.objectStore(CLIENTS).get(room));
    // An array is larger than any text, so this is everything that begins with `room`.
    const all = IDBKeyRange.bound([room], [room, []]);
    const syncs = result(transaction.objectStore(SYNCS).getAll(all));
    const inOrder = (await syncs).sort((a, b) => a.at - b.at);
    return { client: (await client) ?? null, syncs: inOrder };
  }

  /** @param {string} room @param {string} client */
  async keepClient(room, client) {
    await this.#write(CLIENTS, (store) => store.put(client, room));
  }

  /** @param {Kept} sync */
  async put(sync) {
    await this.#write(SYNCS, (store) => store.put(sync));
  }

  /** @param {Kept} sync */
  async drop({ room, id }) {
    await this.#write(SYNCS, (store) => store.delete([room, id]));
  }

  close() {
    this.#database?.then((database) => database.close()).catch(() => {});
    this.#database = null;
  }

  /** @param {string} name @param {(store: IDBObjectStore) => void} change */
  async #write(name, change) {
    const database = await this.#open();
    const transaction = database.transaction(name, "readwrite");
    const written = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    change(transaction.objectStore(name));
    // It needs this page no more: the page may be about to go.
    transaction.commit?.();
    await written;
  }

  #open() {
    this.#database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(this.name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(CLIENTS);
        request.result.createObjectStore(SYNCS, { keyPath: ["room", "id"] });
      };
      request.onsuccess = () => {
        const database = request.result;
        // Another page wants to change it, or the browser has taken it away: open it again then.
        database.onversionchange = database.onclose = () => {
          database.close();
          this.#database = null;
        };
        resolve(database);
      };
      request.onblocked = request.onerror = () => {
        this.#database = null;
        reject(request.error ?? new Error("the database is blocked"));
      };
    });
    return this.#database;
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
