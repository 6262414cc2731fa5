// One gathering, looked at closely: when it ends and why, its life as a line, and who is there.

import { activity } from "./api.mjs";
import { attribute, el, svg, text } from "./dom.mjs";
import {
  bytes,
  count,
  countdown,
  duration,
  hereName,
  lateness,
  movedText,
  nearness,
  rate,
  ruleName,
  ruleText,
  timeOfDay,
} from "./format.mjs";
import { Watched, lifeline, remembered, scale } from "./life.mjs";

const SLICES = 200; // Of a life, for which the log is asked.


const KINDS = {
  busy: "busy",
  quiet: "quiet",
  asleep: "asleep",
  unwatched: "not watched",
  ahead: "to come",
  held: "held",
};

export class One {
  id = null;
  close = null;
  #root;
  #clock;
  #watched = new Watched();
  #past = [];
  #incarnation = null;
  #tenths;
  #parts = {};

  // `on.close` is told that it is closed, `on.act` what the operator wants to do.
  constructor(root, clock, on, tenths) {
    this.#root = root;
    this.#clock = clock;
    this.#tenths = tenths;
    const parts = this.#parts;
    parts.title = el("h2", { id: "one-title", tabindex: "-1" });
    parts.badge = el("span", { class: "badge" });
    const shut = { type: "button", class: "quiet", "aria-label": "Close", onclick: on.close };
    parts.lead = el("p", { class: "lead" });
    parts.time = el("strong", { class: "big", role: "timer", "aria-live": "off" });
    parts.at = el("span", { class: "at" });
    parts.why = el("p", { class: "why" });
    parts.life = el("div", { class: "life" });
    parts.rules = el("ul", { class: "rules" });
    parts.facts = el("dl", { class: "facts" });
    parts.members = el("div", { class: "members" });
    parts.actions = el("div", { class: "actions" });
    const button = (action, name, kind = "") =>
      el(
        "button",
        { type: "button", class: kind, "data-action": action, onclick: () => on.act(action) },
        name,
      );
    parts.actions.append(
      button("hold", "Hold …"),
      button("extend", "Extend …"),
      button("warn", "Warn …"),
      button("disperse", "Disperse …", "danger"),
    );
    root.append(
      el("div", { class: "title" }, parts.title, parts.badge, el("button", shut, "✕")),
      el("div", { class: "when" }, parts.lead, parts.time, parts.at),
      parts.life,
      parts.actions,
      parts.why,
      parts.rules,
      parts.facts,
      parts.members,
    );
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") on.close();
    });
  }

  open(id) {
    this.id = id;
    this.close = null;
    this.#watched = new Watched();
    this.#past = [];
    this.#incarnation = null;
    this.#root.hidden = false;
    this.#write();
    this.#parts.title.focus({ preventScroll: true });
  }

  shut() {
    this.id = null;
    this.close = null;
    this.#root.hidden = true;
  }

  take(close) {
    if (close.id !== this.id) return;
    this.close = close;
    const incarnation = (close.row ?? close.end)?.incarnation ?? this.#incarnation;
    if (incarnation !== this.#incarnation) {
      this.#watched = new Watched();
      this.#past = [];
      this.#incarnation = incarnation;
      this.#recall();
    }
    this.#write();
  }

  // Ask the log what happened while nobody watched. Without an answer, that isn't known.
  async #recall() {
    const incarnation = this.#incarnation;
    const { end } = this.close;
    const ended = end ? { since: end.ended_at - end.lifetime, until: end.ended_at } : {};
    let said;
    try {
      said = await activity(this.id, { slices: SLICES, ...ended });
    } catch {
      return;
    }
    const offset = this.#clock.timeOfDay(0);
    if (incarnation !== this.#incarnation || offset === null) return;
    this.#past = remembered(said, offset);
    this.tick();
  }

  // Something was heard, also if nothing has changed: what is quiet goes on being quiet.
  heard(now) {
    if (this.close?.row && this.#watched.saw(this.close.row, now)) this.#recall();
  }

  get left() {
    const at = this.close?.row?.at;
    return at === null || at === undefined ? Infinity : at - this.#clock.now();
  }

  #write() {
    const { close } = this;
    const parts = this.#parts;
    const row = close?.row ?? null;
    text(parts.title, this.id);
    const stage = row?.stage ?? (close === null ? "" : close.end ? "ended" : "not in memory");
    const badge = stage === "open" && row.held ? "held" : stage;
    text(parts.badge, badge);
    attribute(parts.badge, "data-is", badge);
    attribute(this.#root, "data-over", close !== null && row === null ? "" : null);
    for (const button of parts.actions.children) button.disabled = close === null || !close.why;
    parts.rules.replaceChildren(...this.#rules());
    parts.facts.replaceChildren(...this.#facts());
    this.#members();
    this.tick();
  }

  #when(at) {
    const wall = this.#clock.timeOfDay(at);
    return wall === null ? "" : timeOfDay(wall, this.#clock.timeOfDay(this.#clock.now()));
  }

  // Write what changes with time.
  tick() {
    if (this.id === null) return;
    const { close } = this;
    const parts = this.#parts;
    const row = close?.row ?? null;
    const now = this.#clock.now();
    const left = row === null || row.at === null ? null : row.at - now;
    attribute(this.#root, "data-near", row === null ? "later" : nearness(left));
    if (row !== null) {
      text(parts.lead, "Ends in");
      text(parts.time, countdown(left, this.#tenths()));
      const by = row.rule === null ? "" : `, by ${ruleName(row.rule)}`;
      text(parts.at, row.at === null ? "as things stand" : `at ${this.#when(row.at)}${by}`);
    } else if (close?.end) {
      const { end } = close;
      const wall = this.#clock.timeOfDay(now) ?? end.ended_at;
      text(parts.lead, "Ended");
      text(parts.time, timeOfDay(end.ended_at, wall));
      const late = end.lateness === null ? "" : `, ${lateness(end.lateness)} late`;
      text(parts.at, `${ruleName(end.reason)}${late}, after ${duration(end.lifetime)}`);
    } else {
      text(parts.lead, "");
      text(parts.time, close === null ? "…" : "Not in memory");
      text(parts.at, "");
    }
    this.#why(now);
    this.#life(now);
    for (const item of parts.rules.querySelectorAll("[data-at]")) {
      text(item, countdown(Number(item.dataset.at) - now, false));
    }
  }

  #why(now) {
    const why = this.close?.why;
    const parts = this.#parts;
    parts.why.hidden = !why;
    if (!why) return;
    const moved = `Its end was moved last by ${movedText(why.moved)}`;
    const at = why.warns_at === null ? null : this.#when(why.warns_at);
    const warns = at === null ? "" : ` Its members are warned at ${at}.`;
    const warned = why.warned ? " Its members have been warned." : "";
    const passed = Math.floor(now - why.moved.at);
    const ago = passed < 1 ? "just now" : `${duration(passed)} ago`;
    text(parts.why, `${moved}, ${ago}.${warns}${warned}`);
  }

  #rules() {
    const why = this.close?.why;
    if (!why) return [];
    const ends = Object.entries(why.ends).sort((one, other) => one[1] - other[1]);
    const items = ends.map(([rule, at]) =>
      el(
        "li",
        { "data-rule": rule, "data-first": rule === why.rule ? "" : null },
        el("span", {}, el("b", {}, ruleName(rule)), ` ${ruleText(rule, why.rules)}`),
        el("span", { class: "number", "data-at": at }),
      ),
    );
    if (why.held_until !== null) {
      items.push(
        el(
          "li",
          { "data-first": "" },
          el("span", {}, el("b", {}, "held"), " whatever the rules say, for"),
          el("span", { class: "number", "data-at": why.held_until }),
        ),
      );
    }
    return items;
  }

  #facts() {
    const { close } = this;
    const row = close?.row;
    const end = close?.end;
    if (!row && !end) return [];
    const facts = row
      ? {
          Members: count(row.clients),
          "Msg/s": rate(row.rate),
          Seq: count(row.seq),
          Messages: count(row.processed),
          Opened: this.#when(row.opened),
          Incarnation: row.incarnation,
        }
      : { Seq: count(end.seq), Messages: count(end.processed), Incarnation: end.incarnation };
    return Object.entries(facts).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)),
    );
  }

  #members() {
    const { close } = this;
    const members = close?.members ?? [];
    const root = this.#parts.members;
    if (!close?.row) return root.replaceChildren();
    const title = el("h3", {}, "Members");
    if (members.length === 0) {
      return root.replaceChildren(title, el("p", { class: "none" }, "Nobody is connected."));
    }
    const names = { User: "", Role: "", Behind: "number", Backlog: "number" };
    const heads = Object.entries(names).map(([name, kind]) =>
      el("th", { scope: "col", class: kind }, name),
    );
    const rows = members.map((one) =>
      el(
        "tr",
        {},
        el("td", { class: "name" }, one.user ?? "anonymous"),
        el("td", {}, one.role),
        el("td", { class: "number" }, count(one.unacked)),
        el("td", { class: "number" }, bytes(one.backlog)),
      ),
    );
    const table = el(
      "table",
      { class: "table" },
      el("caption", { class: "unseen" }, "Members"),
      el("thead", {}, el("tr", {}, ...heads)),
      el("tbody", {}, ...rows),
    );
    const more = close.row.clients - members.length;
    const rest = more > 0 ? el("p", { class: "none" }, `and ${count(more)} more`) : null;
    const words = close.here ? hereName(close.here) : null;
    const here = words ? el("p", { class: "none" }, words) : null;
    const parts = [title, table, rest, here];
    return root.replaceChildren(...parts.filter((part) => part !== null));
  }

  #life(now) {
    const { close } = this;
    const root = this.#parts.life;
    const end = close?.end ? this.#ended(close.end) : null;
    if (!close?.row && end === null) return root.replaceChildren();
    const ends = close.why ? Object.values(close.why.ends) : [];
    const heldFrom = close.row?.held && ends.length ? Math.min(...ends) : null;
    const seen = { watched: this.#watched, past: this.#past };
    const sleepAfter = close.sleep_after;
    const line = lifeline({ row: close.row, end, ...seen, now, heldFrom, sleepAfter });
    const place = scale(line);
    const picture = svg("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none" });
    attribute(picture, "aria-hidden", "true");
    const kinds = new Set();
    for (const piece of line.pieces) {
      const [from, to] = [place(piece.from) * 1000, place(piece.to) * 1000];
      kinds.add(piece.kind);
      const size = { x: from, y: 0, width: Math.max(1, to - from), height: 20 };
      picture.append(svg("rect", { ...size, "data-kind": piece.kind }));
    }
    const tick = (at, name, words) => {
      const made = el("span", { "data-mark": name }, words);
      made.style.left = `${place(at) * 100}%`;
      return made;
    };
    const above = end ? [] : [tick(now, "now", "now")];
    const below = [tick(line.from, "opened", `opened ${this.#when(line.from)}`)];
    if (line.end !== null) {
      const name = end ? "ended" : "ends";
      below.push(tick(line.end, name, `${name} ${this.#when(line.end)}`));
    }
    const legend = el("ul", { class: "legend" });
    for (const kind of kinds) legend.append(el("li", { "data-kind": kind }, KINDS[kind]));
    const ticks = (some) => el("div", { class: "ticks" }, ...some);
    root.replaceChildren(...(end ? [] : [ticks(above)]), picture, ticks(below), legend);
  }

  // How it ended, by the hall's clock.
  #ended(end) {
    const wall = this.#clock.timeOfDay(0);
    const at = wall === null ? this.#clock.now() : end.ended_at - wall;
    return { at, opened: at - end.lifetime };
  }
}
