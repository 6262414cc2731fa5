/** The page: who is here, the room it has joined, and what happens when something is touched. */

import { connect } from "./squire/index.js";
import { decideDialog, dropDialog, nameDialog, planDialog } from "./dialogs.js";
import { h, show } from "./dom.js";
import { EMPTY, fold } from "./tournament.js";
import { judgeCard, logView, myCard, signInView, standingsView, tablesView } from "./views.js";
import { countdown, hour } from "./words.js";

/** @typedef {import("./tournament.js").Tournament} Tournament */
/** @typedef {import("./views.js").Me} Me */
/** @typedef {import("./views.js").Entry} Entry */
/** @typedef {{ night: Tournament, log: Entry[] }} State */

const LONGEST_LOG = 200;
const SHORT = 5 * 60_000;
const REASONS = {
  idle: "Nobody touched it for a while.",
  empty: "Nobody was here any more.",
  shutdown: "The server was stopped.",
  admin: "Its operator has ended it.",
};

/** @param {string} id @returns {any} */
const the = (id) => document.getElementById(id);

const [gathering = "friday-night", ...rest] = location.hash.slice(1).split("&");
const code = new URLSearchParams(rest.join("&")).get("code") ?? "";
const remembered = `swiss-night ${gathering}`;

/** @type {Me | null} */
let me = JSON.parse(localStorage.getItem(remembered) ?? "null");
/** @type {import("./squire/index.js").Room<State> | null} */
let room = null;
let tab = "tables";
/** @type {number | null} The round whose tables are shown; null for the last one. */
let shownRound = null;
/** @type {{ night: Tournament, seq: number, time: number } | null} */
let then = null;
/** @type {Entry[]} What was before this page came. */
let before = [];
let willDraw = false;
let cleanUp = 0;

// Coming in.

/** @param {Record<string, string>} said */
async function signIn(said) {
  const answer = await ask("/sign-in", { ...said, gathering });
  if (!answer) return;
  me = /** @type {Me} */ (answer);
  localStorage.setItem(remembered, JSON.stringify(me));
  history.replaceState(null, "", `#${gathering}`);
  join();
}

function signOut() {
  room?.close();
  room = null;
  me = null;
  localStorage.removeItem(remembered);
  draw();
}

function join() {
  if (!me) return;
  const { name, role, token } = me;
  const joined = connect(location.origin.replace(/^http/, "ws"), gathering, {
    token,
    account: `${role} ${name}`,
    initial: { night: EMPTY, log: [] },
    restore: (night) => ({ night, log: [] }),
    fold: (state, op, stamp) => {
      const log = [...state.log, { ...stamp, op }].slice(-LONGEST_LOG);
      return { night: fold(state.night, op, stamp), log };
    },
  });
  room = joined;
  for (const event of ["state", "status", "ending", "role"]) joined.addEventListener(event, draw);
  joined.addEventListener("dispersed", draw);
  joined.addEventListener("closed", ({ detail }) => {
    if (room !== joined || detail?.code === "left") return;
    if (detail?.code === "unauthorized") signOut();
    say(detail?.message ?? "The connection is over.");
  });
  draw();
}

// What people do.

/** @param {object} op */
async function submit(op) {
  try {
    await room?.submit(/** @type {any} */ (op));
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
}

async function nextRound() {
  the("judge")?.querySelector("button")?.setAttribute("disabled", "");
  shownRound = null;
  await ask(`/gatherings/${gathering}/next-round`, {});
  draw();
}

/** @param {string} path @param {object} body */
async function ask(path, body) {
  try {
    const headers = {
      "Content-Type": "application/json",
      ...(me && { Authorization: `Bearer ${me.token}` }),
    };
    const asked = { method: "POST", headers, body: JSON.stringify(body) };
    const answer = await fetch(path, asked);
    const said = await answer.json();
    if (answer.ok) return said;
    say(said.problem);
  } catch {
    say("The server can’t be reached.");
  }
  return null;
}

/** @param {number} seq @param {number} time */
async function lookBack(seq, time) {
  try {
    const page = await /** @type {any} */ (room).fetch({ at: seq });
    then = { night: page.snapshot, seq, time };
    shownRound = null;
    tab = "tables";
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
  draw();
}

async function earlier() {
  try {
    const known = before[0]?.seq ?? room?.state.log[0]?.seq ?? (await now()) + 1;
    const since = Math.max(0, known - 1 - LONGEST_LOG);
    const page = await /** @type {any} */ (room).fetch({ since });
    const missed = page.changes.filter((/** @type {Entry} */ one) => one.seq < known);
    before = [...missed, ...before];
  } catch (error) {
    say(/** @type {Error} */ (error).message);
  }
  draw();
}

/** The last op's seq. @returns {Promise<number>} */
async function now() {
  return (await /** @type {any} */ (room).fetch()).seq;
}

const act = {
  submit,
  nextRound,
  lookBack,
  earlier,
  /** @param {number} round @param {number} table */
  decide: (round, table) => {
    const played = room?.state.night.rounds[round - 1];
    const match = played?.matches.find((one) => one.table === table);
    if (!match) return;
    decideDialog(the("dialog"), round, match, (games) => {
      submit({ do: "rule", round, table, games });
    });
  },
  /** @param {string} what */
  ask: (what) => {
    const night = /** @type {any} */ (room).state.night;
    if (what === "plan") planDialog(the("dialog"), night, (plan) => submit({ do: "plan", ...plan }));
    else if (what === "enter") {
      nameDialog(the("dialog"), (player) => submit({ do: "enter", player }));
    } else if (me?.role === "judge") {
      dropDialog(the("dialog"), night, (player) => submit({ do: "drop", player }));
    } else dropDialog(the("dialog"), null, () => submit({ do: "drop" }));
  },
};

// What is shown.

/** @param {string} text */
function say(text) {
  const place = the("said");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(cleanUp);
  cleanUp = setTimeout(() => (place.hidden = true), 6000);
}

function draw() {
  if (willDraw) return;
  willDraw = true;
  requestAnimationFrame(() => {
    willDraw = false;
    drawNow();
  });
}

function drawNow() {
  if (!me || !room) {
    the("status").textContent = "";
    the("status").className = "status";
    the("clock").hidden = true;
    if (!the("main").querySelector("form")) show(the("main"), signInView(code, signIn));
    return;
  }
  const night = then?.night ?? room.state.night;
  drawHead(night);
  drawSleep();
  const number = shownRound ?? night.rounds.length;
  const views = {
    tables: () => [roundChoice(night, number), tablesView(night, number, /** @type {Me} */ (me), act)],
    standings: () => [standingsView(night, /** @type {Me} */ (me))],
    log: () => {
      const entries = [...before, ...(room?.state.log ?? [])];
      return [logView(entries, entries[0]?.seq === 1, /** @type {Me} */ (me), act)];
    },
  };
  const tabs = Object.entries({ tables: "Tables", standings: "Standings", log: "Log" }).map(
    ([name, label]) =>
      h(
        "button",
        {
          role: "tab",
          "aria-selected": String(tab === name),
          "data-key": `tab ${name}`,
          onclick: () => {
            tab = name;
            draw();
          },
        },
        label,
      ),
  );
  show(
    the("main"),
    then && banner(then),
    !then && myCard(night, me, act),
    !then && judgeCard(night, me, act),
    h(
      "section.card.stack",
      { id: "room" },
      h("nav", { role: "tablist", "aria-label": "What to look at" }, ...tabs),
      .../** @type {any} */ (views)[tab](),
    ),
    h("button.quiet", { onclick: signOut }, `${me.name} (${me.role}): sign out`),
  );
}

/** @param {Tournament} night @param {number} number */
function roundChoice(night, number) {
  if (night.rounds.length < 2) return h("p.soft", {}, number ? "Round 1" : "Before round 1");
  const choose = (/** @type {any} */ event) => {
    shownRound = Number(event.target.value);
    draw();
  };
  const options = night.rounds.map((one) =>
    h("option", { value: one.number, selected: one.number === number }, `Round ${one.number}`),
  );
  const choice = { "aria-label": "Round", "data-key": "round", onchange: choose };
  return h("select", choice, ...options);
}

/** @param {{ seq: number, time: number }} shown */
function banner({ seq, time }) {
  const back = () => {
    then = null;
    draw();
  };
  return h(
    "div.note.then.row.spread",
    {},
    h("span", {}, `As it was after op ${seq}, at ${hour(time)}`),
    h("button", { onclick: back, "data-key": "now" }, "Back to now"),
  );
}

/** @param {Tournament} night */
function drawHead(night) {
  document.title = night.title;
  the("title").textContent = night.title;
  const number = night.rounds.length;
  the("subtitle").textContent =
    night.finished !== null
      ? "Final standings"
      : number
        ? `Round ${number} of ${night.planned}`
        : `${Object.keys(night.players).length} players, ${night.planned} rounds`;
  const status = the("status");
  const ending = room?.ending;
  const words = { open: "Live", connecting: "Connecting …", asleep: "Asleep", suspended: "Away" };
  const kind = room?.status === "open" ? (ending ? "ending" : "open") : "away";
  status.className = `status ${kind}`;
  const text =
    kind === "ending" && ending
      ? `Falls asleep in ${Math.ceil(ending.left / 1000)} s, unless somebody does something`
      : (words[/** @type {keyof typeof words} */ (room?.status)] ?? "Trying to reach the server …");
  if (status.textContent !== text) status.textContent = text;
  drawClock(night);
}

/** @param {Tournament} night */
function drawClock(night) {
  const clock = the("clock");
  const last = night.rounds[night.rounds.length - 1];
  clock.hidden = !last || night.finished !== null || then !== null;
  if (clock.hidden) return;
  const left = last.over === null ? last.ends - Date.now() : 0;
  clock.textContent = left > 0 ? countdown(left) : "Time";
  clock.classList.toggle("short", left > 0 && left < SHORT);
  clock.classList.toggle("over", left <= 0);
}

function drawSleep() {
  const place = the("asleep");
  const isAsleep = room?.status === "asleep";
  if (place.hidden !== isAsleep) return;
  place.hidden = !isAsleep;
  the("main").inert = isAsleep;
  if (!isAsleep) return;
  const reason = /** @type {keyof typeof REASONS} */ (room?.dispersed?.reason);
  show(
    place,
    h("div.moon", { "aria-hidden": "true" }),
    h("h2", { id: "asleep-title" }, "This gathering went to sleep"),
    h("p", {}, `${REASONS[reason] ?? ""} Everything is kept.`),
    h("button", { "data-key": "wake" }, "Wake it"),
  );
  place.querySelector("button")?.focus();
}

the("asleep").addEventListener("click", () => room?.reopen().catch(() => {}));
setInterval(() => {
  if (room && me && !document.hidden) drawHead(then?.night ?? room.state.night);
}, 1000);
if (me) join();
else draw();
