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
export function syncOfEach(first: number, count: number, runs: SyncRun[] | undefined): (Sync | null)[];
/**
 * The same, as the protocol says it.
 * @param {(Sync | null)[]} syncs One for each op.
 * @returns {SyncRun[]}
 */
export function runsOf(syncs: (Sync | null)[]): SyncRun[];
/**
 * As the protocol has it.
 */
export type SyncRun = [first: number, count: number, id: string];
/**
 * Which ops came from one sync: `count` of them, from the op `first` on.
 */
export type Sync = {
    first: number;
    count: number;
    id: string;
};
