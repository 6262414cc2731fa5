/** What the page shows, made anew of the tournament each time. */

import { h } from "./dom.js";
import { standings } from "./standings.js";
import { isDisputed, matchOf, openMatches, resultOf } from "./tournament.js";
import { hour, outcome, RESULTS, score, seenBy, sentence, turned, UNDOABLE } from "./words.js";

/** @typedef {import("./tournament.js").Tournament} Tournament */
/** @typedef {import("./tournament.js").Match} Match */
/** @typedef {import("./tournament.js").Games} Games */
/** @typedef {{ name: string, role: string, token: string }} Me */
/** @typedef {{ seq: number, time: number, by: string | null, op: any }} Entry */
/**
 * @typedef {object} Actions
 * @property {(op: object) => void} submit
 * @property {() => void} nextRound
 * @property {(round: number, table: number) => void} decide
 * @property {(seq: number, time: number) => void} lookBack
 * @property {() => void} earlier
 * @property {(what: string) => void} ask
 */

/**
 * @param {string} code The judges' code, where the link had it.
 * @param {(said: Record<string, string>) => void} signIn
 */
export function signInView(code, signIn) {
  const choice = code ? "judge" : "player";
  const roles = [
    ["player", "I play"],
    ["observer", "I watch"],
    ["judge", "I judge"],
  ].map(([value, text]) => {
    const attributes = { type: "radio", name: "role", value, checked: value === choice };
    return h("label", {}, h("input", attributes), text);
  });
  const codeField = h(
    "label",
    { hidden: choice !== "judge" },
    "The judges’ code",
    h("input", { name: "code", value: code, autocomplete: "off" }),
  );
  return h(
    "form.card.stack",
    {
      onchange: (/** @type {any} */ event) => {
        codeField.hidden = new FormData(event.currentTarget).get("role") !== "judge";
      },
      onsubmit: (/** @type {any} */ event) => {
        event.preventDefault();
        const said = Object.fromEntries(new FormData(event.currentTarget));
        if (said.role !== "judge") said.code = "";
        signIn(/** @type {Record<string, string>} */ (said));
      },
    },
    h("h2", {}, "Who are you?"),
    h("fieldset", {}, h("legend", {}, "Tonight"), ...roles),
    h(
      "label",
      {},
      "Your name",
      h("input", { name: "name", required: true, maxlength: 40, autocomplete: "nickname" }),
    ),
    codeField,
    h("button.primary", {}, "Come in"),
  );
}

/** @param {Tournament} night @param {Me} me @param {Actions} act */
export function myCard(night, me, act) {
  if (me.role !== "player") return null;
  const player = night.players[me.name];
  if (!player) {
    if (night.finished !== null) return null;
    const late = night.rounds.length ? "You play from the next round on." : "";
    return h(
      "section.card.stack",
      {},
      h("h2", {}, `Hello, ${me.name}`),
      h("p.soft", {}, `${Object.keys(night.players).length} have entered. ${late}`),
      h("button.primary", { onclick: () => act.submit({ do: "enter" }) }, "Enter the tournament"),
    );
  }
  const played = night.rounds[night.rounds.length - 1];
  const match = matchOf(played, me.name);
  if (night.finished !== null) {
    const place = standings(night).find((one) => one.name === me.name);
    return card(
      h("p.soft", {}, "The tournament has ended. You came"),
      h("p.table", {}, `${place?.rank}.`),
      h("p.soft", {}, `with ${place?.points} points`),
    );
  }
  if (player.dropped !== null && (!match || resultOf(match) !== null)) {
    return card(h("p", {}, "You have dropped. Thanks for playing!"));
  }
  if (!match) {
    const waiting = night.rounds.length ? "You play from the next round on." : "You are in.";
    return card(
      h("p.versus", {}, waiting),
      h("p.soft", {}, "Keep this page: your table shows up here."),
      dropButton(act),
    );
  }
  if (match.second === null) {
    return card(h("p.versus", {}, "You have the bye"), h("p.soft", {}, "It counts as a 2–0."));
  }
  return matchCard(played.number, match, me.name, act);
}

/** @param {number} round @param {Match} match @param {string} name @param {Actions} act */
function matchCard(round, match, name, act) {
  const opponent = match.first === name ? match.second : match.first;
  const mine = match.reports[name];
  const theirs = match.reports[opponent ?? ""];
  const result = resultOf(match);
  const begins = match.first === name ? "You may choose who begins." : "";
  const rows = [
    h("p.soft", {}, `Round ${round}, table`),
    h("p.table", {}, String(match.table)),
    h("p.versus", {}, `against ${opponent}`),
  ];
  if (result) {
    const seen = seenBy(result, match, name);
    const how = match.rulings.length ? "A judge has decided." : "You both say so.";
    rows.push(h("p.note", {}, `You ${outcome(seen)} ${score(seen)}. ${how}`), dropButton(act));
    return card(...rows);
  }
  if (isDisputed(match)) {
    const [said, other] = [seenBy(mine.games, match, name), seenBy(theirs.games, match, name)];
    const text = `You say you ${outcome(said)} ${score(said)}, ${opponent} says you ${outcome(other)} ${score(other)}. Call a judge.`;
    rows.push(h("p.note.dispute", {}, text));
  } else if (mine) {
    const seen = seenBy(mine.games, match, name);
    rows.push(h("p.note", {}, `You ${outcome(seen)} ${score(seen)}. Waiting for ${opponent}.`));
  } else if (theirs) {
    const seen = seenBy(theirs.games, match, name);
    rows.push(
      h("p.note", {}, `${opponent} says you ${outcome(seen)} ${score(seen)}.`),
      h(
        "button.primary",
        { "data-key": `confirm ${round} ${theirs.games}`, onclick: () => report(theirs.games) },
        "That’s right",
      ),
    );
  } else if (begins) rows.push(h("p.soft", {}, begins));
  const question = mine ? "Was it something else?" : theirs ? "Or was it" : "How did it go for you?";
  rows.push(h("p.soft", {}, question));
  const buttons = RESULTS.map((seen) => {
    const games = match.first === name ? seen : turned(seen);
    const pressed = mine?.games.join() === games.join();
    const label = `I ${outcome(seen)} ${score(seen)}`;
    return h(
      "button",
      {
        "aria-pressed": String(pressed),
        "aria-label": label,
        "data-key": `score ${round} ${games}`,
        onclick: () => report(games),
      },
      score(seen),
    );
  });
  rows.push(h("div.scores", { role: "group", "aria-label": "Your result" }, ...buttons));
  return card(...rows);

  /** @param {Games} games */
  function report(games) {
    act.submit({ do: "report", round, games });
  }
}

/** @param {...Node} children */
const card = (...children) => h("section.card.stack.match", { id: "mine" }, ...children);

/** @param {Actions} act */
function dropButton(act) {
  return h("button.quiet", { onclick: () => act.ask("drop"), "data-key": "drop" }, "I go home…");
}

/** @param {Tournament} night @param {Me} me @param {Actions} act */
export function judgeCard(night, me, act) {
  if (me.role !== "judge") return null;
  const number = night.rounds.length;
  const left = openMatches(night);
  const disputes = left.filter(({ match }) => isDisputed(match)).length;
  const isLast = number >= night.planned;
  const text =
    night.finished !== null
      ? "The standings are final."
      : !number
        ? `${Object.keys(night.players).length} players have entered.`
        : left.length
          ? `${left.length} ${left.length === 1 ? "table plays" : "tables play"}${disputes ? `, ${disputes} in dispute` : ""}.`
          : `Round ${number} is done.`;
  const go =
    isLast && number
      ? h(
          "button.primary",
          { disabled: left.length > 0, onclick: () => act.submit({ do: "finish" }), "data-key": "go" },
          "End the tournament",
        )
      : h(
          "button.primary",
          { disabled: left.length > 0, onclick: act.nextRound, "data-key": "go" },
          `Pair and start round ${number + 1}`,
        );
  const more = [
    ["plan", "Plan…"],
    ["enter", "Enter…"],
    ["drop", "Drop…"],
  ].map(([what, label]) =>
    h("button", { onclick: () => act.ask(what), "data-key": `ask ${what}` }, label),
  );
  if (number) {
    const extend = () => act.submit({ do: "extend", minutes: 5 });
    more.push(h("button", { onclick: extend, "data-key": "extend" }, "+5 minutes"));
  }
  return h(
    "section.card.stack",
    { id: "judge" },
    h("div.row.spread", {}, h("h2", {}, "Judge"), h("p.soft", {}, text)),
    night.finished === null && go,
    night.finished === null && h("div.actions", {}, ...more),
  );
}

/** @param {Tournament} night @param {number} number @param {Me} me @param {Actions} act */
export function tablesView(night, number, me, act) {
  const played = night.rounds[number - 1];
  if (!played) {
    const names = Object.keys(night.players);
    return h(
      "div.stack",
      {},
      h("p.soft", {}, names.length ? "They are in:" : "Nobody has entered yet."),
      h("p", {}, names.join(", ")),
    );
  }
  const lines = played.matches.map((match) => {
    const result = resultOf(match);
    const isMine = match.first === me.name || match.second === me.name;
    /** @param {string} name @param {boolean} won */
    const named = (name, won) => h(won ? "span.won" : "span", {}, name);
    const names = h("span.names", {}, named(match.first, !!result && result[0] > result[1]));
    if (match.second !== null) {
      names.append(" – ", named(match.second, !!result && result[1] > result[0]));
    }
    const said = Object.keys(match.reports).length;
    const tag =
      match.second === null
        ? h("span.tag", {}, "bye")
        : result
          ? h("span.tag.done", {}, score(result))
          : isDisputed(match)
            ? h("span.tag.dispute", {}, "dispute")
            : said
              ? h("span.tag.half", {}, "one report")
              : h("span.tag", {}, "playing");
    const parts = [h("span.number", {}, String(match.table)), names, tag];
    const kind = isMine ? ".mine" : "";
    const line =
      me.role === "judge" && match.second !== null
        ? h(
            `button.line${kind}`,
            { onclick: () => act.decide(number, match.table), "data-key": `table ${number} ${match.table}` },
            ...parts,
          )
        : h(`div.line${kind}`, {}, ...parts);
    return h("li", {}, line);
  });
  return h("ul.tables", {}, ...lines);
}

/** @param {number} share */
const percent = (share) => (100 * share).toFixed(1);

/** @param {Tournament} night @param {Me} me */
export function standingsView(night, me) {
  const rows = standings(night).map((place) =>
    h(
      place.name === me.name ? "tr.mine" : place.dropped ? "tr.gone" : "tr",
      {},
      h("td", {}, String(place.rank)),
      h("td", {}, place.name),
      h("td", {}, String(place.points)),
      h("td", {}, place.record.join("–")),
      h("td", {}, percent(place.opponents_matches)),
      h("td.wide", {}, percent(place.games)),
      h("td.wide", {}, percent(place.opponents_games)),
    ),
  );
  const heads = [
    ["th", "#", "Rank"],
    ["th", "Player", ""],
    ["th", "Pts", "Match points"],
    ["th", "W–L–D", "Matches won, lost, drawn"],
    ["th", "OMW%", "Opponents’ match-win percentage"],
    ["th.wide", "GW%", "Game-win percentage"],
    ["th.wide", "OGW%", "Opponents’ game-win percentage"],
  ].map(([tag, text, title]) => h(tag, { scope: "col", title: title || null }, text));
  return h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
}

/** @param {Entry[]} entries @param {boolean} isWhole @param {Me} me @param {Actions} act */
export function logView(entries, isWhole, me, act) {
  const lines = [...entries].reverse().map(({ seq, time, by, op }) =>
    h(
      "li",
      {},
      h(
        "div.line",
        {},
        h("span.number", {}, String(seq)),
        h("span.names", {}, sentence(op, by), " ", h("span.soft", {}, hour(time))),
        h(
          "span",
          {},
          h(
            "button.quiet",
            { onclick: () => act.lookBack(seq, time), "data-key": `then ${seq}` },
            "Then",
          ),
          me.role === "judge" &&
            UNDOABLE.has(op.do) &&
            h(
              "button.quiet",
              { onclick: () => act.submit({ do: "undo", seq }), "aria-label": `Take back op ${seq}` },
              "Undo",
            ),
        ),
      ),
    ),
  );
  return h(
    "div.stack",
    {},
    h("ul.tables", {}, ...lines),
    !isWhole && h("button", { onclick: act.earlier, "data-key": "earlier" }, "What was before"),
  );
}
