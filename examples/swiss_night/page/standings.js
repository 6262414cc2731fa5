/**
 * Standings with the tie-breakers of Magic's tournament rules, as `standings.py` has them.
 *
 * @typedef {import("./tournament.js").Tournament} Tournament
 * @typedef {{ rank: number, name: string, points: number, record: [number, number, number],
 *   opponents_matches: number, games: number, opponents_games: number, dropped: boolean }} Standing
 */

import { resultOf } from "./tournament.js";

const FLOOR = 0.33;
const DIGITS = 1e9;
const POINTS = [3, 0, 1];

/** @param {number} points @param {number} played */
const share = (points, played) => (played ? Math.max(FLOOR, points / (3 * played)) : FLOOR);

/** @param {number[]} shares */
const mean = (shares) => {
  return shares.length ? shares.reduce((sum, one) => sum + one, 0) / shares.length : 0;
};

/** @param {number} number */
const rounded = (number) => Math.round(number * DIGITS) / DIGITS;

/**
 * The standings by all results that count so far, the first place first.
 * @param {Tournament} night
 * @returns {Standing[]}
 */
export function standings(night) {
  const tallies = new Map(
    Object.keys(night.players).map((name) => {
      const record = /** @type {[number, number, number]} */ ([0, 0, 0]);
      const opponents = /** @type {string[]} */ ([]);
      return [name, { points: 0, record, gamePoints: 0, games: 0, opponents }];
    }),
  );
  for (const { matches } of night.rounds) {
    for (const match of matches) {
      const games = resultOf(match);
      if (games === null) continue;
      const sides = [
        { name: match.first, other: match.second, won: games[0], lost: games[1] },
        { name: match.second, other: match.first, won: games[1], lost: games[0] },
      ];
      for (const { name, other, won, lost } of sides) {
        const tally = name === null ? undefined : tallies.get(name);
        if (!tally) continue;
        const outcome = won > lost ? 0 : lost > won ? 1 : 2;
        tally.record[outcome]++;
        tally.points += POINTS[outcome];
        tally.gamePoints += 3 * won + games[2];
        tally.games += games[0] + games[1] + games[2];
        if (other !== null) tally.opponents.push(other);
      }
    }
  }
  const rows = [...tallies].map(([name, { points, record, gamePoints, games, opponents }]) => {
    const met = opponents.flatMap((other) => tallies.get(other) ?? []);
    const played = (/** @type {number[]} */ one) => one[0] + one[1] + one[2];
    return {
      rank: 0,
      name,
      points,
      record,
      opponents_matches: rounded(mean(met.map((one) => share(one.points, played(one.record))))),
      games: rounded(share(gamePoints, games)),
      opponents_games: rounded(mean(met.map((one) => share(one.gamePoints, one.games)))),
      dropped: night.players[name].dropped !== null,
    };
  });
  const compare = (/** @type {Standing} */ a, /** @type {Standing} */ b) =>
    b.points - a.points ||
    b.opponents_matches - a.opponents_matches ||
    b.games - a.games ||
    b.opponents_games - a.opponents_games;
  const entered = (/** @type {Standing} */ one) => night.players[one.name].number;
  rows.sort((a, b) => compare(a, b) || entered(a) - entered(b));
  rows.forEach((row, index) => {
    const before = rows[index - 1];
    row.rank = before && compare(before, row) === 0 ? before.rank : index + 1;
  });
  return rows;
}
