// One gathering's life as pieces of a line: what was, and what is to come. No document.

const BUSY = 0.1; // Messages a second from which on it counts as busy.
const JOINED = 3; // Seconds between two looks that still belong together.

// What was seen of a gathering: pieces of `busy`, `quiet` or `asleep`, one after the other.
export class Watched {
  pieces = [];

  constructor(most = 500) {
    this.most = most;
  }

  // A look at it, at the moment `now`. Returns whether there was a hole before it.
  saw(row, now) {
    const kind = row.stage === "asleep" ? "asleep" : row.rate >= BUSY ? "busy" : "quiet";
    const last = this.pieces.at(-1);
    const follows = last !== undefined && now - last.to <= JOINED;
    if (follows) last.to = now;
    if (!follows || last.kind !== kind) this.pieces.push({ kind, from: now, to: now });
    if (this.pieces.length > this.most) this.pieces.splice(0, this.pieces.length - this.most);
    return last !== undefined && !follows;
  }
}

// What the log tells of a time, as pieces: it was busy where ops were committed. `offset` is what
// the hall's clock lags behind the time of day.
export function remembered({ since, until, ops }, offset) {
  const width = (until - since) / ops.length;
  const pieces = [];
  ops.forEach((number, index) => {
    const kind = number > 0 ? "busy" : "quiet";
    const to = since - offset + width * (index + 1);
    const last = pieces.at(-1);
    if (last?.kind === kind) last.to = to;
    else pieces.push({ kind, from: last?.to ?? since - offset, to });
  });
  return pieces;
}

// The whole line, from the opening to the end: pieces without a hole between them. What nobody
// watched is as the log has it (`past`), else `unwatched`; but after its last message a gathering
// was quiet, watched or not, and one that sleeps has slept since `sleepAfter` seconds after that.
export function lifeline({ row, end, watched, past = [], now, heldFrom = null, sleepAfter = null }) {
  const over = end !== null && end !== undefined;
  const opened = row?.opened ?? end.opened;
  const until = over ? end.at : now;
  const lastMessage = over ? opened : Math.min(row.last, until);
  const sleeps = !over && row.stage === "asleep" ? lastMessage + (sleepAfter ?? 0) : Infinity;
  const pieces = [];
  let at = opened;
  const add = (kind, to) => {
    const upTo = Math.min(to, until);
    if (upTo <= at) return;
    const before = pieces.at(-1);
    if (before?.kind === kind) before.to = upTo;
    else pieces.push({ kind, from: at, to: upTo });
    at = upTo;
  };
  const unseen = (to) => {
    for (const piece of past) {
      if (piece.to <= at) continue;
      add("unwatched", Math.min(piece.from, to, sleeps));
      add(piece.kind, Math.min(piece.to, to, sleeps));
    }
    add("unwatched", Math.min(to, Math.max(at, lastMessage)));
    add(over ? "unwatched" : "quiet", Math.min(to, sleeps));
    add("asleep", to);
  };
  for (const piece of watched?.pieces ?? []) {
    if (piece.to <= at) continue;
    unseen(piece.from);
    add(piece.kind, piece.to);
  }
  unseen(until);
  if (over) return { pieces, from: opened, to: until, now: until, end: until };
  const to = row.at;
  if (to !== null && to > now) {
    const held = heldFrom === null ? to : Math.max(now, Math.min(heldFrom, to));
    if (held > now) pieces.push({ kind: "ahead", from: now, to: held });
    if (to > held) pieces.push({ kind: "held", from: held, to });
  }
  return { pieces, from: opened, to: to === null ? null : Math.max(to, now), now, end: to };
}

// Where an instant is on the line, from 0 to 1. What was and what is to come have half of it each
// at least a quarter, so that both can be seen however unlike they are.
export function scale({ from, to, now, end }) {
  const past = Math.max(now - from, 1e-3);
  const ahead = to === null ? past : Math.max(to - now, 0);
  const share = ahead === 0 ? 1 : Math.min(0.75, Math.max(0.25, past / (past + ahead)));
  return (at) => {
    if (at <= now || end === now) return share * Math.max(0, Math.min(1, (at - from) / past));
    return share + (1 - share) * Math.min(1, (at - now) / Math.max(ahead, 1e-3));
  };
}
