/** Syncs: which ops were submitted together, as the server says where it is asked. */

/** @typedef {[first: number, count: number, id: string]} SyncRun As the protocol has it. */

/**
 * @typedef {object} Sync Which ops came from one sync: `count` of them, from the op `first` on.
 * @property {number} first
 * @property {number} count
 * @property {string} id
 */

/**
 * The sync of each of `count` ops from `first` on; null where it isn't known.
 * @param {number} first
 * @param {number} count
 * @param {SyncRun[] | undefined} runs
 * @returns {(Sync | null)[]}
 */
export function syncOfEach(first, count, runs) {
  /** @type {(Sync | null)[]} */
  const found = new Array(count).fill(null);
  for (const [start, length, id] of runs ?? []) {
    const sync = { first: start, count: length, id };
    const stop = Math.min(start + length, first + count);
    for (let seq = Math.max(start, first); seq < stop; seq++) found[seq - first] = sync;
  }
  return found;
}

/**
 * The same, as the protocol says it.
 * @param {(Sync | null)[]} syncs One for each op.
 * @returns {SyncRun[]}
 */
export function runsOf(syncs) {
  /** @type {Map<number, SyncRun>} */
  const runs = new Map();
  for (const sync of syncs) if (sync) runs.set(sync.first, [sync.first, sync.count, sync.id]);
  return [...runs.values()];
}
