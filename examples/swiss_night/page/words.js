/** What the page says of ops and results. */

/** @typedef {import("./tournament.js").Games} Games */
/** @typedef {import("./tournament.js").Match} Match */

/** What a best of three may come to, as its first player sees it. @type {Games[]} */
export const RESULTS = [
  [2, 0, 0],
  [2, 1, 0],
  [1, 1, 0],
  [1, 2, 0],
  [0, 2, 0],
];

/** @param {Games} games */
export function score([first, second, drawn]) {
  return `${first}–${second}${drawn ? `–${drawn}` : ""}`;
}

/** The same games, as the second player sees them. @param {Games} games @returns {Games} */
export const turned = ([first, second, drawn]) => [second, first, drawn];

/**
 * A result as a player sees it.
 * @param {Games} games
 * @param {Match} match
 * @param {string} name
 */
export function seenBy(games, match, name) {
  return match.first === name ? games : turned(games);
}

/** @param {Games} games As one sees them. */
export function outcome([won, lost]) {
  return won > lost ? "won" : lost > won ? "lost" : "drew";
}

/** @param {number} milliseconds */
export function countdown(milliseconds) {
  const seconds = Math.ceil(Math.max(0, milliseconds) / 1000);
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}

/** @param {number} time */
export const hour = (time) =>
  new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @type {Record<string, (op: any, by: string) => string>} */
const SENTENCES = {
  plan: ({ title, rounds, minutes }, by) =>
    `${by} plans “${title}”: ${rounds} rounds of ${minutes} minutes`,
  enter: ({ player }, by) => (player ? `${by} enters ${player}` : `${by} enters`),
  drop: ({ player }, by) => (player ? `${by} drops ${player}` : `${by} drops`),
  start_round: ({ round, pairings }, by) =>
    `${by} starts round ${round} with ${pairings.length} tables`,
  extend: ({ minutes }, by) => `${by} gives the round ${minutes} more minutes`,
  time_is_up: ({ round }) => `time is up in round ${round}`,
  report: ({ games }, by) => `${by} reports ${score(games)}`,
  rule: ({ round, table, games }, by) =>
    `${by} decides table ${table} of round ${round}: ${score(games)}`,
  finish: (_, by) => `${by} ends the tournament`,
  undo: ({ seq }, by) => `${by} takes back op ${seq}`,
};

/** @param {any} op @param {string | null} by */
export function sentence(op, by) {
  return SENTENCES[op.do]?.(op, by ?? "somebody") ?? `${by} does ${op.do}`;
}

/** What a judge may take back. */
export const UNDOABLE = new Set(["enter", "drop", "start_round", "report", "rule", "finish"]);
