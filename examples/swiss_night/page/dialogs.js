/** What is asked in a dialog before it is done. */

import { h, show } from "./dom.js";
import { outcome, RESULTS, score } from "./words.js";

/** @typedef {import("./tournament.js").Tournament} Tournament */
/** @typedef {import("./tournament.js").Match} Match */
/** @typedef {import("./tournament.js").Games} Games */

/** @param {HTMLDialogElement} dialog @param {string} title @param {...(Node | false)} children */
function open(dialog, title, ...children) {
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  dialog.setAttribute("aria-label", title);
  show(dialog, h("div.stack", {}, h("h2", {}, title), ...children, close));
  dialog.showModal();
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {number} round
 * @param {Match} match
 * @param {(games: Games) => void} decide
 */
export function decideDialog(dialog, round, match, decide) {
  const said = Object.values(match.reports).map(({ by, games }) =>
    h("p.soft", {}, `${by} says ${score(games)}`),
  );
  const buttons = RESULTS.map((games) => {
    const winner = games[0] >= games[1] ? match.first : (match.second ?? "");
    const label = `${winner} ${outcome(games) === "drew" ? "and the other drew" : "won"} ${score(games)}`;
    const choose = () => {
      dialog.close();
      decide(games);
    };
    return h("button", { onclick: choose, "aria-label": label }, score(games));
  });
  open(
    dialog,
    `Table ${match.table}, round ${round}`,
    h("p", {}, `${match.first} – ${match.second}`),
    ...said,
    h("div.scores", { role: "group", "aria-label": "What counts" }, ...buttons),
  );
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {string} title
 * @param {string} label
 * @param {HTMLElement[]} fields
 * @param {(said: Record<string, string>) => void} done
 */
function form(dialog, title, label, fields, done) {
  const submitted = (/** @type {any} */ event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(event.currentTarget));
    dialog.close();
    done(/** @type {Record<string, string>} */ (said));
  };
  const button = h("button.primary", {}, label);
  open(dialog, title, h("form.stack", { onsubmit: submitted }, ...fields, button));
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {Tournament} night
 * @param {(plan: { title: string, rounds: number, minutes: number }) => void} done
 */
export function planDialog(dialog, { title, planned, minutes }, done) {
  const number = { type: "number", min: 1, required: true };
  const fields = [
    h("label", {}, "Title", h("input", { name: "title", value: title, required: true })),
    h("label", {}, "Rounds", h("input", { ...number, name: "rounds", value: planned, max: 30 })),
    h("label", {}, "Minutes", h("input", { ...number, name: "minutes", value: minutes, max: 600 })),
  ];
  form(dialog, "The plan", "Set", fields, (said) => {
    done({ title: said.title, rounds: Number(said.rounds), minutes: Number(said.minutes) });
  });
}

/** @param {HTMLDialogElement} dialog @param {(name: string) => void} done */
export function nameDialog(dialog, done) {
  const input = h("input", { name: "name", required: true, maxlength: 40, autocomplete: "off" });
  const fields = [h("label", {}, "Name", input)];
  form(dialog, "Enter somebody", "Enter", fields, ({ name }) => done(name));
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {Tournament | null} night Null: oneself.
 * @param {(name: string) => void} done
 */
export function dropDialog(dialog, night, done) {
  const names = Object.entries(night?.players ?? {}).filter(([, one]) => one.dropped === null);
  const options = names.map(([name]) => h("option", { value: name }, name));
  const fields = night
    ? [h("label", {}, "Name", h("select", { name: "name" }, ...options))]
    : [h("p", {}, "You won’t be paired in the next rounds. Your results stay.")];
  const title = night ? "Drop somebody" : "Go home?";
  form(dialog, title, night ? "Drop" : "I go home", fields, ({ name }) => done(name));
}
