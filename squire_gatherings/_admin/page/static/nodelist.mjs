// The nodes that form a hall: a line that says how they are, and a table behind it.

import { attribute, el, text } from "./dom.mjs";
import { isWell, rowsOf, summaryOf } from "./nodes.mjs";

const HEADS = ["Node", "State", "Gatherings", "Members", "Last beat", "Reached at"];

export class NodeList {
  #root;
  #summary = el("summary");
  #rows = el("tbody");

  constructor(root) {
    this.#root = root;
    const heads = HEADS.map((name) => el("th", { scope: "col" }, name));
    const table = el(
      "table",
      { class: "table" },
      el("caption", { class: "unseen" }, "Nodes that share the store"),
      el("thead", {}, el("tr", {}, ...heads)),
      this.#rows,
    );
    const scroll = { class: "wide", tabindex: "0", role: "region", "aria-label": "Nodes" };
    root.append(this.#summary, el("div", scroll, table));
  }

  clear() {
    this.#root.hidden = true;
  }

  take(said) {
    this.#root.hidden = false;
    attribute(this.#root, "data-state", isWell(said) ? "live" : "lost");
    text(this.#summary, summaryOf(said));
    const rows = rowsOf(said);
    while (this.#rows.children.length > rows.length) this.#rows.lastChild.remove();
    rows.forEach((cells, index) => {
      const row = this.#rows.children[index] ?? this.#add(cells.length);
      cells.forEach((cell, column) => text(row.children[column], cell));
    });
  }

  #add(cells) {
    const row = el("tr", {}, ...Array.from({ length: cells }, () => el("td")));
    this.#rows.append(row);
    return row;
  }
}
