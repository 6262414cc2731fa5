// The page: it connects, shows what it is told, and asks for what is on the screen.

import { operator, post } from "./api.mjs";
import { Clock } from "./clock.mjs";
import { ask as confirm } from "./dialogs.mjs";
import { attribute, byId, el, text } from "./dom.mjs";
import { Ends } from "./ends.mjs";
import { count, rate } from "./format.mjs";
import { Grid } from "./grid.mjs";
import { NodeList } from "./nodelist.mjs";
import { One } from "./one.mjs";
import { watch } from "./stream.mjs";

const LATE = 4; // Seconds without a word after which the page says so.
const LOST = 12; // … and after which it begins anew.
const HIDDEN = 30; // Seconds out of sight after which nothing is asked for any more.
const LONGEST = 10; // Seconds between two tries to connect.
const RATE_OVER = 5; // Seconds.

const clock = new Clock();
const still = matchMedia("(prefers-reduced-motion: reduce)");
const tenths = () => !still.matches;

const asked = { search: "", stage: null, min_clients: 0, sort: "deadline", descending: false };
let number = 0;
let lastAsked = "";
let viewer = null;
let connection = null; // Aborts the stream.
let tries = 0;
let again = null; // The timer of the next try.
let hidden = null; // The timer after which a page out of sight disconnects.
let heardAt = 0;
let messages = [];
let toCount = 1; // From which question on the next count is to be said aloud.

const grid = new Grid(
  byId("grid"),
  clock,
  { window: () => ask(), open: (id) => openOne(id), sort: sortBy },
  tenths,
);
const ends = new Ends(byId("ends"), clock, (id) => openOne(id));
const nodes = new NodeList(byId("nodes"));
const one = new One(byId("one"), clock, { close: closeOne, act }, tenths);

// The connection.

async function connect() {
  clearTimeout(again);
  connection?.abort();
  const mine = (connection = new AbortController());
  viewer = null;
  try {
    await watch((message, received) => {
      if (!mine.signal.aborted) hear(message, received);
    }, mine.signal);
  } catch (problem) {
    if (mine.signal.aborted) return;
    lost(problem);
  }
}

function lost(problem) {
  viewer = null;
  if (problem.status === 401) {
    say("waiting", "Not logged in");
    show("login");
    return;
  }
  tries += 1;
  const pause = Math.min(LONGEST, 2 ** (tries - 1)) * (0.7 + 0.6 * Math.random());
  const why = problem.status === 503 ? problem.message : "The server can't be reached";
  say("lost", `${why}; trying again`);
  again = setTimeout(connect, pause * 1000);
}

function hear(message, received) {
  heardAt = received;
  if (message.viewer !== undefined) {
    begin(message);
    return;
  }
  tries = 0;
  clock.pushed(message.now, received);
  clock.saw(message.now, message.wall);
  say("live", "Live");
  // What goes now has reached its end before.
  grid.tick();
  one.tick();
  if (message.ends?.length) ends.add(message.ends);
  grid.take(message);
  if (message.close) one.take(message.close);
  if (message.nodes) nodes.take(message.nodes);
  one.heard(message.now);
  showTotals(message);
  const matched = grid.list.matched;
  const first = matched > grid.total ? `first ${count(grid.total)} of ` : "";
  const things = matched === 1 ? "gathering" : "gatherings";
  text(byId("matched"), `${first}${count(matched)} ${things}`);
  if (message.number >= toCount) {
    // Said aloud once for each search, not each second.
    text(byId("counted"), byId("matched").textContent);
    toCount = Infinity;
  }
  ask();
  tick();
}

function begin(hello) {
  viewer = hello.viewer;
  lastAsked = "";
  messages = [];
  grid.reaches(hello.most);
  grid.forget();
  ends.clear();
  nodes.clear();
  show("hall");
  byId("totals").title = `squire_gatherings ${hello.version}, ${hello.store}`;
  ask();
}

// Say what is to be seen, if that isn't what was said last.
async function ask() {
  if (viewer === null) return;
  const wanted = { ...asked, ...grid.window(), gathering: one.id };
  const key = JSON.stringify(wanted);
  if (key === lastAsked) return;
  lastAsked = key;
  number += 1;
  const sent = clock.local();
  try {
    const said = await post(`/live/${viewer}`, { ...wanted, number });
    clock.answered(said.now, sent);
  } catch {
    // The stream tells what is wrong with it; another question comes with the next news.
    lastAsked = "";
  }
}

function say(state, words) {
  attribute(byId("state"), "data-state", state);
  text(byId("state"), words);
}

function show(name) {
  byId("login").hidden = name !== "login";
  byId("hall").hidden = name !== "hall";
  byId("log-out").hidden = name !== "hall";
  if (name === "login") {
    byId("operator").value = operator.name;
    byId("token").focus();
  }
}

// The hall as a whole.

let hall = null;

function showTotals(news) {
  hall = news.hall ?? hall;
  if (hall === null) return;
  messages.push({ now: news.now, messages: hall.messages });
  messages = messages.filter((sample) => news.now - sample.now <= RATE_OVER);
  const first = messages[0];
  const passed = news.now - first.now;
  const perSecond = passed > 0 ? (hall.messages - first.messages) / passed : 0;
  const totals = {
    Open: count(hall.open),
    Members: count(hall.clients),
    "Msg/s": rate(perSecond),
    Ended: count(hall.ended),
  };
  if (hall.asleep > 0) totals.Asleep = count(hall.asleep);
  if (hall.ending > 0) totals.Ending = count(hall.ending);
  if (hall.closing) say("late", "The server is shutting down");
  const root = byId("totals");
  const names = Object.keys(totals).join(" ");
  if (root.dataset.names !== names) {
    root.dataset.names = names;
    const made = Object.keys(totals).map((name) => el("div", {}, el("dt", {}, name), el("dd")));
    root.replaceChildren(...made);
  }
  Object.values(totals).forEach((value, index) => text(root.children[index].lastChild, value));
}

// One gathering.

function openOne(id) {
  document.body.dataset.one = "";
  one.open(id);
  grid.open(id);
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  ask();
}

function closeOne() {
  if (one.id === null) return;
  delete document.body.dataset.one;
  one.shut();
  grid.open(null);
  history.replaceState(null, "", location.pathname);
  grid.focus();
  ask();
}

function act(action) {
  const { close } = one;
  if (!close?.why) return;
  const now = clock.now();
  const about = { id: close.id, row: close.row, why: close.why, now, wall: clock.timeOfDay(now) };
  confirm(byId("dialog"), action, about, (words) => {
    text(byId("said"), "");
    text(byId("said"), words);
    byId("said").dataset.shown = "";
    setTimeout(() => delete byId("said").dataset.shown, 6000);
    // Ask again, so that what has changed is seen at once.
    lastAsked = "";
    ask();
  });
}

// The filters.

function restart() {
  grid.restart();
  toCount = number + 1;
  ask();
}

function sortBy(sort, isDown) {
  asked.descending = asked.sort === sort ? !asked.descending : isDown;
  asked.sort = sort;
  showSort();
  restart();
}

function showSort() {
  grid.sorted(asked.sort, asked.descending);
  byId("sort").value = `${asked.descending ? "-" : ""}${asked.sort}`;
}

let typing = null;

function search() {
  clearTimeout(typing);
  const wanted = byId("search").value.trim();
  if (wanted === asked.search) return;
  asked.search = wanted;
  restart();
}

byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, 150);
});
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
  grid.focus();
});
byId("members").addEventListener("change", (event) => {
  asked.min_clients = Number(event.target.value);
  restart();
});
byId("stage").addEventListener("change", (event) => {
  asked.stage = event.target.value || null;
  restart();
});
byId("sort").addEventListener("change", (event) => {
  asked.descending = event.target.value.startsWith("-");
  asked.sort = event.target.value.replace("-", "");
  showSort();
  restart();
});
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    document.body.dataset.shows = button.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) {
      attribute(other, "aria-pressed", String(other === button));
    }
  });
}

// Keys that work wherever one is, but where somebody writes or is asked for a confirmation.
document.addEventListener("keydown", (event) => {
  if (byId("dialog").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const isWriting = event.target.matches("input, select, textarea");
  if (event.key === "/" && !isWriting && !byId("hall").hidden) {
    byId("search").focus();
    byId("search").select();
    event.preventDefault();
  } else if (event.key === "Escape" && event.target === byId("search")) {
    byId("search").value = "";
    search();
    grid.focus();
  } else if (event.key === "Escape" && !isWriting) {
    closeOne();
  }
});

// Logging in.

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  text(byId("login-error"), "");
  operator.name = byId("operator").value.trim();
  try {
    await post("/login", { token: byId("token").value.trim() });
    byId("token").value = "";
    say("waiting", "Connecting …");
    connect();
  } catch (problem) {
    text(byId("login-error"), `Not logged in: ${problem.message}.`);
    byId("token").select();
  }
});
byId("log-out").addEventListener("click", async () => {
  try {
    await post("/logout");
  } finally {
    connection?.abort();
    closeOne();
    grid.forget();
    ends.clear();
    nodes.clear();
    say("waiting", "Logged out");
    show("login");
  }
});

// Time.

let timer = null;

function tick() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (clock.isKnown) {
    grid.tick();
    one.tick();
  }
  const silent = clock.local() - heardAt;
  if (viewer !== null && silent > LOST) {
    say("lost", "No word from the server; trying again");
    connect();
  } else if (viewer !== null && silent > LATE) {
    say("late", `No word for ${Math.floor(silent)} s: what is shown is as old`);
  }
  const nearest = Math.min(grid.nearest, one.left);
  const pause = nearest <= 11 && tenths() ? 100 : 250;
  timer = setTimeout(tick, nearest > 0 ? Math.min(pause, Math.ceil(nearest * 1000)) : pause);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => {
      connection?.abort();
      viewer = null;
    }, HIDDEN * 1000);
    return;
  }
  heardAt = clock.local();
  if (viewer === null && byId("login").hidden) connect();
  tick();
});

showSort();
const linked = decodeURIComponent(location.hash.slice(1));
if (/^[A-Za-z0-9._~-]{1,128}$/.test(linked)) openOne(linked);
connect();
tick();
