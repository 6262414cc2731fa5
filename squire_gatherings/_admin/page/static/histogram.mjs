// How late the last ends were, in buckets. No document.

import { lateness } from "./format.mjs";

export const BOUNDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, Infinity];

export const RULES = ["idle", "empty", "unjoined", "alone", "max_age", "ends_at"];

// What stands under a bucket: milliseconds.
export function mark(index) {
  const bound = BOUNDS[index];
  return bound === Infinity ? "+" : String(bound * 1000);
}

export function label(index) {
  const bound = BOUNDS[index];
  return bound === Infinity ? `over ${lateness(BOUNDS[index - 1])}` : `up to ${lateness(bound)}`;
}

// How many ends each bucket has, of each rule. Ends without a deadline are in none.
export function buckets(ends) {
  const made = BOUNDS.map((_, index) => ({ label: label(index), total: 0, rules: new Map() }));
  for (const end of ends) {
    if (end.lateness === null) continue;
    const bucket = made[BOUNDS.findIndex((bound) => end.lateness <= bound)];
    bucket.total += 1;
    bucket.rules.set(end.reason, (bucket.rules.get(end.reason) ?? 0) + 1);
  }
  return made;
}

// The value below which so many of a hundred ends were late; null where none has a lateness.
export function percentile(ends, percent) {
  const values = ends.map((end) => end.lateness).filter((value) => value !== null);
  if (values.length === 0) return null;
  values.sort((one, other) => one - other);
  return values[Math.min(values.length - 1, Math.ceil((percent / 100) * values.length) - 1)];
}

// How many ends there were of each reason, the most frequent first.
export function byReason(ends) {
  const counts = new Map();
  for (const end of ends) counts.set(end.reason, (counts.get(end.reason) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
}
