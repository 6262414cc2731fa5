/**
 * The tournament, as `tournament.py` and `ops.py` have it: what the page folds, and shows at once
 * of what isn't answered yet. States are values. `tests/examples` plays the same logs to both.
 *
 * @typedef {[number, number, number]} Games Won by the first player, by the second, drawn.
 * @typedef {{ seq: number, by: string, games: Games }} Report
 * @typedef {{ table: number, first: string, second: string | null,
 *   reports: Record<string, Report>, rulings: Report[] }} Match
 * @typedef {{ seq: number, number: number, began: number, ends: number, matches: Match[],
 *   over: number | null }} Round
 * @typedef {{ seq: number, number: number, first_round: number, dropped: number | null }} Player
 * @typedef {{ title: string, planned: number, minutes: number, players: Record<string, Player>,
 *   rounds: Round[], finished: number | null }} Tournament
 * @typedef {{ seq: number, time: number, by: string | null }} Stamp
 */

/** @type {Tournament} */
export const EMPTY = {
  title: "Swiss night",
  planned: 4,
  minutes: 50,
  players: {},
  rounds: [],
  finished: null,
};

const MINUTE = 60_000;

/** @type {Record<string, (night: Tournament, op: any, stamp: Stamp) => Tournament>} */
const APPLY = {
  plan: (night, { title, rounds, minutes }) => ({ ...night, title, planned: rounds, minutes }),

  enter(night, { player }, { seq, by }) {
    const number = Object.keys(night.players).length + 1;
    const made = { seq, number, first_round: night.rounds.length + 1, dropped: null };
    return { ...night, players: { ...night.players, [player ?? by ?? ""]: made } };
  },

  drop(night, { player }, { seq, by }) {
    const name = player ?? by ?? "";
    const gone = { ...night.players[name], dropped: seq };
    return { ...night, players: { ...night.players, [name]: gone } };
  },

  start_round(night, { round, pairings }, { seq, time }) {
    const matches = pairings.map(
      /** @param {string[]} names @param {number} index */
      ([first, second = null], index) => {
        return { table: index + 1, first, second, reports: {}, rulings: [] };
      },
    );
    const ends = time + night.minutes * MINUTE;
    const made = { seq, number: round, began: time, ends, matches, over: null };
    return { ...night, rounds: [...night.rounds, made] };
  },

  extend(night, { minutes }) {
    const last = night.rounds[night.rounds.length - 1];
    return withRound(night, { ...last, ends: last.ends + minutes * MINUTE, over: null });
  },

  time_is_up(night, _, { time }) {
    return withRound(night, { ...night.rounds[night.rounds.length - 1], over: time });
  },

  report(night, { games }, { seq, by }) {
    const last = night.rounds[night.rounds.length - 1];
    const said = { seq, by: by ?? "", games };
    return withMatch(night, last, matchOf(last, said.by), (match) => {
      return { ...match, reports: { ...match.reports, [said.by]: said } };
    });
  },

  rule(night, { round, table, games }, { seq, by }) {
    const played = night.rounds[round - 1];
    const ruled = { seq, by: by ?? "", games };
    const match = played.matches.find((one) => one.table === table);
    return withMatch(night, played, match, (found) => {
      return { ...found, rulings: [...found.rulings, ruled] };
    });
  },

  finish: (night, _, { seq }) => ({ ...night, finished: seq }),

  undo(night, { seq }) {
    const finished = night.finished === seq ? null : night.finished;
    const kept = night.rounds.filter((one, index) => {
      return index < night.rounds.length - 1 || one.seq !== seq;
    });
    const rounds = kept.map((played) => {
      const matches = played.matches.map((match) => {
        const reports = Object.entries(match.reports).filter(([, one]) => one.seq !== seq);
        const rulings = match.rulings.filter((one) => one.seq !== seq);
        return { ...match, reports: Object.fromEntries(reports), rulings };
      });
      return { ...played, matches };
    });
    const players = Object.entries(night.players)
      .filter(([, player]) => player.seq !== seq)
      .sort(([, a], [, b]) => a.number - b.number)
      .map(([name, player], index) => {
        const dropped = player.dropped === seq ? null : player.dropped;
        return [name, { ...player, number: index + 1, dropped }];
      });
    return { ...night, finished, rounds, players: Object.fromEntries(players) };
  },
};

/**
 * The tournament after an op that was logged.
 * @param {Tournament} night
 * @param {any} op
 * @param {Stamp} stamp
 * @returns {Tournament}
 */
export function fold(night, op, stamp) {
  return APPLY[op.do](night, op, stamp);
}

/** @param {Tournament} night @param {Round} changed @returns {Tournament} */
function withRound(night, changed) {
  const rounds = night.rounds.map((one) => (one.number === changed.number ? changed : one));
  return { ...night, rounds };
}

/**
 * @param {Tournament} night
 * @param {Round} played
 * @param {Match | undefined} changed
 * @param {(match: Match) => Match} change
 */
function withMatch(night, played, changed, change) {
  const matches = played.matches.map((one) => (one === changed ? change(one) : one));
  return withRound(night, { ...played, matches });
}

/**
 * Somebody's match in a round.
 * @param {Round | undefined} played
 * @param {string | null} name
 */
export function matchOf(played, name) {
  return played?.matches.find((one) => one.first === name || one.second === name);
}

/**
 * What counts: the last ruling, or what both players say; null while it's open.
 * @param {Match} match
 * @returns {Games | null}
 */
export function resultOf(match) {
  if (match.second === null) return [2, 0, 0];
  if (match.rulings.length) return match.rulings[match.rulings.length - 1].games;
  const said = Object.values(match.reports);
  return said.length === 2 && said[0].games.join() === said[1].games.join() ? said[0].games : null;
}

/** Whether the players say different things, and no judge has decided. @param {Match} match */
export function isDisputed(match) {
  return Object.keys(match.reports).length === 2 && resultOf(match) === null;
}

/** The matches without a result, each with its round. @param {Tournament} night */
export function openMatches(night) {
  return night.rounds.flatMap((played) =>
    played.matches.filter((one) => resultOf(one) === null).map((match) => ({ played, match })),
  );
}
