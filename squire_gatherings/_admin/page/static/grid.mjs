// The list as a grid: as few elements as the screen has rows, however long the list is.

import { attribute, el, text } from "./dom.mjs";
import { age, count, countdown, nearness, rate, ruleName } from "./format.mjs";
import { EMPTY, applied, covers, cursorAfter, difference, scrollFor, windowOf } from "./list.mjs";

const COLUMNS = [
  { key: "id", name: "Gathering", sort: "id", down: false },
  { key: "clients", name: "Members", sort: "clients", down: true },
  { key: "rate", name: "Msg/s", sort: "rate", down: true },
  { key: "seq", name: "Seq", sort: "seq", down: true },
  { key: "age", name: "Age", sort: "opened", down: true },
  { key: "quiet", name: "Quiet for", sort: "quiet", down: false },
  { key: "left", name: "Ends in", sort: "deadline", down: false },
];

export class Grid {
  list = EMPTY;
  cursor = null;
  opened = null;
  #root;
  #clock;
  #on;
  #body;
  #headers = new Map();
  #rows = new Map(); // By gathering: its elements.
  #spare = [];
  #most = Infinity;
  #tenths;
  #rowHeight = 32;
  #height = 0; // Of the rows' part of the screen.

  // `on.window` is told that other rows are seen, `on.open` that one is opened, `on.sort` …
  constructor(root, clock, on, tenths) {
    this.#root = root;
    this.#clock = clock;
    this.#on = on;
    this.#tenths = tenths;
    this.#body = el("div", { class: "rows", role: "rowgroup" });
    const cells = COLUMNS.map((column) => this.#header(column));
    const head = el("div", { class: "row", role: "row", "aria-rowindex": 1 }, ...cells);
    root.append(el("div", { class: "head", role: "rowgroup" }, head), this.#body);
    root.addEventListener("scroll", () => this.#moved(), { passive: true });
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("focus", () => this.#focused());
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.#resized()).observe(root);
    this.#measure();
  }

  #header(column) {
    const sort = () => this.#on.sort(column.sort, column.down);
    const button = el("button", { type: "button", tabindex: "-1", onclick: sort }, column.name);
    const cell = el("div", { class: `cell ${column.key}`, role: "columnheader" }, button);
    this.#headers.set(column.sort, cell);
    return cell;
  }

  sorted(sort, isDown) {
    for (const [key, cell] of this.#headers) {
      const order = key !== sort ? null : isDown ? "descending" : "ascending";
      attribute(cell, "aria-sort", order);
    }
  }

  reaches(most) {
    this.#most = most;
  }

  get total() {
    return Math.min(this.list.matched, this.#most);
  }

  // Another list begins.
  restart() {
    this.#root.scrollTop = 0;
    this.cursor = null;
  }

  forget() {
    this.#update(EMPTY);
  }

  take(news) {
    this.#update(applied(this.list, news));
  }

  #update(list) {
    const { went } = difference(this.list, list);
    for (const id of went) this.#drop(id);
    this.list = list;
    this.cursor = cursorAfter(this.cursor, list, this.total);
    // The header is a row, too.
    attribute(this.#root, "aria-rowcount", this.total + 1);
    this.#body.style.height = `${this.total * this.#rowHeight}px`;
    this.#place();
    this.#busy();
    if (document.activeElement === this.#root) this.#focused();
    this.#mark();
    this.tick();
  }

  // To measure makes the browser lay out the page at once: only when its size has changed.
  #measure() {
    const root = this.#root;
    this.#rowHeight = parseFloat(getComputedStyle(root).getPropertyValue("--row")) || 32;
    this.#height = Math.max(this.#rowHeight, root.clientHeight - this.#body.offsetTop);
  }

  #geometry() {
    const { scrollTop } = this.#root;
    return { scrollTop, height: this.#height, rowHeight: this.#rowHeight, total: this.total };
  }

  // Which rows are wanted now.
  window() {
    return windowOf(this.#geometry());
  }

  // The rows stay where they are in the list: others are wanted, and come with the next news.
  #moved() {
    this.#busy();
    this.#on.window();
  }

  #resized() {
    this.#measure();
    this.#body.style.height = `${this.total * this.#rowHeight}px`;
    this.#place();
    this.#moved();
  }

  // Say whether something is still to come of what is on the screen.
  #busy() {
    const has = { offset: this.list.offset, count: this.list.ids.length };
    attribute(this.#root, "aria-busy", covers(has, this.#geometry()) ? null : "true");
  }

  #place() {
    const rowHeight = this.#rowHeight;
    // In the document they stand as on the screen: that is how they are read out.
    let before = null;
    this.list.ids.forEach((id, at) => {
      const row = this.list.rows.get(id);
      if (row === undefined) return;
      const elements = this.#rows.get(id) ?? this.#make(id);
      const next = before === null ? this.#body.firstChild : before.nextSibling;
      if (elements.row !== next) this.#body.insertBefore(elements.row, next);
      before = elements.row;
      const index = this.list.offset + at;
      elements.row.style.transform = `translateY(${index * rowHeight}px)`;
      attribute(elements.row, "aria-rowindex", index + 2);
      this.#write(elements, row);
    });
  }

  #make(id) {
    const elements = this.#spare.pop() ?? made();
    elements.row.dataset.id = id;
    elements.row.id = `row-${id}`;
    this.#rows.set(id, elements);
    return elements;
  }

  #drop(id) {
    const elements = this.#rows.get(id);
    if (elements === undefined) return;
    elements.row.remove();
    this.#rows.delete(id);
    if (this.#spare.length < 50) this.#spare.push(elements);
  }

  #write(elements, row) {
    text(elements.name, row.id);
    attribute(elements.name, "title", row.id);
    attribute(elements.row, "data-stage", row.stage);
    const badge = row.stage !== "open" ? row.stage : row.held ? "held" : "";
    text(elements.badge, badge);
    attribute(elements.badge, "data-is", badge || null);
    text(elements.clients, count(row.clients));
    attribute(elements.clients, "data-none", row.clients === 0 ? "" : null);
    text(elements.rate, rate(row.rate));
    attribute(elements.rate, "data-none", row.rate < 0.05 ? "" : null);
    text(elements.seq, count(row.seq));
    attribute(elements.seq, "data-none", row.seq === 0 ? "" : null);
    text(elements.rule, row.rule === null ? "" : ruleName(row.rule));
  }

  // Write what changes with time.
  tick() {
    const now = this.#clock.now();
    for (const [id, elements] of this.#rows) {
      const row = this.list.rows.get(id);
      if (row === undefined) continue;
      const left = row.at === null ? null : row.at - now;
      text(elements.left, countdown(left, this.#tenths()));
      attribute(elements.row, "data-near", nearness(left));
      text(elements.age, age(now - row.opened));
      text(elements.quiet, age(now - row.last));
    }
  }

  // How near the next end is that is seen: how soon to write again depends on it.
  get nearest() {
    const now = this.#clock.now();
    let nearest = Infinity;
    for (const { at } of this.list.rows.values()) {
      if (at !== null && at > now) nearest = Math.min(nearest, at - now);
    }
    return nearest;
  }

  // The cursor.

  #focused() {
    if (this.cursor === null && this.list.ids.length > 0) {
      const { scrollTop, rowHeight } = this.#geometry();
      this.#go(Math.ceil(scrollTop / rowHeight));
    }
  }

  #go(index) {
    if (this.total === 0) return;
    const to = Math.max(0, Math.min(this.total - 1, index));
    this.cursor = { id: this.list.ids[to - this.list.offset] ?? null, index: to };
    this.#root.scrollTop = scrollFor(to, this.#geometry());
    this.#mark();
  }

  #mark() {
    const id = this.cursor?.id ?? null;
    const isThere = id !== null && this.#rows.has(id);
    attribute(this.#root, "aria-activedescendant", isThere ? `row-${id}` : null);
    for (const [one, { row }] of this.#rows) {
      attribute(row, "data-cursor", one === id ? "" : null);
      attribute(row, "aria-selected", one === this.opened ? "true" : "false");
    }
  }

  open(id) {
    this.opened = id;
    this.#mark();
  }

  focus() {
    this.#root.focus({ preventScroll: true });
  }

  #clicked(event) {
    const id = event.target.closest("[data-id]")?.dataset.id;
    if (id === undefined) return;
    this.cursor = { id, index: this.list.offset + this.list.ids.indexOf(id) };
    this.#mark();
    this.#on.open(id);
  }

  #pressed(event) {
    if (event.target !== this.#root || event.ctrlKey || event.metaKey || event.altKey) return;
    const { height, rowHeight } = this.#geometry();
    const page = Math.max(1, Math.floor(height / rowHeight) - 1);
    const at = this.cursor?.index ?? -1;
    const moves = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this.total - 1,
    };
    if (event.key in moves) {
      this.#go(moves[event.key]);
      event.preventDefault();
    } else if (event.key === "Enter" && this.cursor?.id) {
      this.#on.open(this.cursor.id);
      event.preventDefault();
    }
  }
}

function made() {
  const elements = { row: el("div", { class: "row", role: "row" }) };
  for (const { key } of COLUMNS) {
    elements[key] = el("div", { class: `cell ${key}`, role: "gridcell" });
    elements.row.append(elements[key]);
  }
  elements.name = el("span", { class: "name" });
  elements.badge = el("span", { class: "badge" });
  elements.id.append(elements.name, elements.badge);
  elements.rule = el("span", { class: "rule" });
  const left = elements.left;
  elements.left = el("span", { class: "time" });
  left.append(elements.rule, elements.left);
  return elements;
}
