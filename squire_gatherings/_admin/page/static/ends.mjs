// The last ends: how late they were, by which rules, and which they were.

import { el, svg, text } from "./dom.mjs";
import { count, duration, lateness, ruleName, timeOfDay } from "./format.mjs";
import { buckets, byReason, mark, percentile, RULES } from "./histogram.mjs";

const MOST = 1000;
const LISTED = 100;
const HEIGHT = 96;

export class Ends {
  ends = [];
  #clock;
  #onOpen;
  #title = el("h2", { id: "ends-title" }, "Last ends");
  #summary = el("p", { class: "summary" });
  #figure = el("figure", { class: "histogram" });
  #rules = el("ul", { class: "legend" });
  #table = el("tbody");

  constructor(root, clock, onOpen) {
    this.#clock = clock;
    this.#onOpen = onOpen;
    const names = ["When", "Gathering", "Rule", "Late"];
    const heads = names.map((name) => el("th", { scope: "col" }, name));
    const table = el(
      "table",
      { class: "table" },
      el("caption", { class: "unseen" }, `The last ${LISTED} ends, the newest first`),
      el("thead", {}, el("tr", {}, ...heads)),
      this.#table,
    );
    const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": "Ends" };
    root.append(
      this.#title,
      this.#summary,
      this.#figure,
      this.#rules,
      el("div", scroll, table),
    );
    this.#draw();
  }

  clear() {
    this.ends = [];
    this.#draw();
  }

  add(ends) {
    this.ends = [...this.ends, ...ends].slice(-MOST);
    this.#draw();
  }

  #draw() {
    const late = (percent) => lateness(percentile(this.ends, percent));
    const some = this.ends.some((end) => end.lateness !== null);
    const said = `Half of ${count(this.ends.length)} within ${late(50)}, 99 % within ${late(99)}`;
    const none = this.ends.length ? "None of them was by a rule." : "None has ended yet.";
    text(this.#summary, some ? `${said}, all within ${late(100)} of the deadline.` : none);
    this.#figure.replaceChildren(...(some ? [histogram(this.ends)] : []));
    const reasons = byReason(this.ends).map(([reason, number]) =>
      el("li", { "data-rule": reason }, `${ruleName(reason)} `, el("b", {}, count(number))),
    );
    this.#rules.replaceChildren(...reasons);
    const newest = this.ends.slice(-LISTED).reverse();
    this.#table.replaceChildren(...newest.map((end) => this.#row(end)));
  }

  #row(end) {
    const now = this.#clock.timeOfDay(this.#clock.now()) ?? end.ended_at;
    const open = () => this.#onOpen(end.id);
    const button = el("button", { type: "button", class: "link", onclick: open }, end.id);
    return el(
      "tr",
      {},
      el("td", {}, timeOfDay(end.ended_at, now)),
      el("td", { class: "name", title: `lived ${duration(end.lifetime)}` }, button),
      el("td", { "data-rule": end.reason }, ruleName(end.reason)),
      el("td", { class: "number" }, lateness(end.lateness)),
    );
  }
}

function histogram(ends) {
  const made = buckets(ends);
  const most = Math.max(...made.map((bucket) => bucket.total));
  const step = 100 / made.length;
  const picture = svg("svg", {
    viewBox: `0 0 100 ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": spoken(made),
  });
  made.forEach((bucket, index) => {
    let top = HEIGHT;
    for (const rule of RULES) {
      const number = bucket.rules.get(rule) ?? 0;
      if (number === 0) continue;
      const height = Math.max(1.5, (number / most) * (HEIGHT - 4));
      top -= height;
      const x = index * step + step * 0.08;
      const bar = svg("rect", { x, y: top, width: step * 0.84, height, "data-rule": rule });
      bar.append(svg("title", {}, `${bucket.label}: ${count(number)} ${ruleName(rule)}`));
      picture.append(bar);
    }
  });
  const labels = made.map((_, index) => el("span", {}, mark(index)));
  const axis = el("div", { class: "axis", "aria-hidden": "true" }, ...labels);
  const unit = el("p", { class: "unit", "aria-hidden": "true" }, "up to so many ms late");
  return el("div", {}, picture, axis, unit);
}

function spoken(made) {
  const said = made
    .filter((bucket) => bucket.total > 0)
    .map((bucket) => `${bucket.label}: ${count(bucket.total)}`);
  return `Lateness of the last ends. ${said.join("; ")}`;
}
