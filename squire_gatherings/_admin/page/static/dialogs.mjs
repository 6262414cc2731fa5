// What an operator does to a gathering: each is confirmed in a dialog that says what will happen.

import { act } from "./api.mjs";
import { el, text } from "./dom.mjs";
import { count, duration, timeOfDay } from "./format.mjs";

const HOUR = 3600;
const SPANS = [600, HOUR, 8 * HOUR, 24 * HOUR, 7 * 24 * HOUR];

const spans = (name, chosen) =>
  el(
    "select",
    { name },
    ...SPANS.map((seconds) =>
      el("option", { value: seconds, selected: seconds === chosen }, duration(seconds)),
    ),
  );

// Each: what the dialog says and asks for, and what is done. `about` is what is known.
const ACTIONS = {
  hold: (about) => {
    const { now, wall, why } = about;
    const isHeld = why.rules.hold_until !== null && why.rules.hold_until > wall;
    const select = spans("span", HOUR);
    if (isHeld) select.prepend(el("option", { value: "release" }, "take the hold back"));
    const at = el("p", { class: "preview" });
    const preview = () => {
      const seconds = Number(select.value);
      if (select.value === "release") text(at, "Its rules decide again at once.");
      else if (why.at === null || why.at - now > seconds) {
        text(at, "As things stand it ends later than that: it is only kept from ending sooner.");
      } else text(at, `No rule ends it before ${timeOfDay(wall + seconds, wall)}.`);
    };
    select.addEventListener("change", preview);
    preview();
    return {
      title: "Hold",
      text: `As things stand, it ${ending(why, now, wall)}.`,
      fields: [el("label", {}, "From now on, for ", select), at],
      confirm: "Hold",
      first: select,
      run: () =>
        select.value === "release"
          ? act(about.id, "hold", { until: null })
          : act(about.id, "hold", { for: Number(select.value) }),
      done: (said) =>
        select.value === "release"
          ? `The hold of ${about.id} is taken back.`
          : `${about.id} is held until ${timeOfDay(said.rules.hold_until, said.now)}.`,
    };
  },
  extend: (about) => {
    const { now, wall, why } = about;
    const select = spans("span", HOUR);
    const at = el("p", { class: "preview" });
    const preview = () => {
      const ends = wall + (why.at ?? 0) - now + Number(select.value);
      const put = `No rule ends it before ${timeOfDay(ends, wall)}.`;
      text(at, why.at === null ? "It never ends." : put);
    };
    select.addEventListener("change", preview);
    preview();
    return {
      title: "Extend",
      text: `As things stand, it ${ending(why, now, wall)}.`,
      fields: [el("label", {}, "Its end moves away by ", select), at],
      confirm: "Extend",
      first: select,
      run: () => act(about.id, "extend", { seconds: Number(select.value) }),
      done: (said) =>
        said.deadline === null
          ? `${about.id} never ends.`
          : `${about.id} ends at ${timeOfDay(said.deadline, said.now)}.`,
    };
  },
  warn: (about) => ({
    title: "Warn the members of",
    text: `It ${ending(about.why, about.now, about.wall)}. ${members(about, "told so now")}`,
    fields: [],
    confirm: "Warn",
    run: () => act(about.id, "warn"),
    done: () => `The members of ${about.id} were warned.`,
  }),
  disperse: (about) => ({
    title: "Disperse",
    text: `It ends now. ${members(about, "told, and disconnected")} Its log stays.`,
    fields: [],
    confirm: "Disperse",
    isDangerous: true,
    run: () => act(about.id, "disperse"),
    done: (said) =>
      said.dispersed ? `${about.id} has dispersed.` : `${about.id} wasn't in memory any more.`,
  }),
};

function ending(why, now, wall) {
  return why.at === null ? "never ends" : `ends at ${timeOfDay(wall + why.at - now, wall)}`;
}

function members({ row }, are) {
  if (row.clients === 0) return "Nobody is connected.";
  if (row.clients === 1) return `Its one member is ${are}.`;
  return `Its ${count(row.clients)} members are ${are}.`;
}

// Ask for a confirmation, and do it. `onDone` is told what to say.
export function ask(dialog, action, about, onDone) {
  const made = ACTIONS[action](about);
  const error = el("p", { class: "error", role: "alert" });
  const kind = made.isDangerous ? "danger main" : "main";
  const confirm = el("button", { type: "submit", class: kind }, made.confirm);
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const run = async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    text(error, "");
    try {
      const said = await made.run();
      dialog.close();
      onDone(made.done(said));
    } catch (problem) {
      text(error, `Not done: ${problem.message}.`);
      confirm.disabled = false;
      confirm.focus();
    }
  };
  const form = el(
    "form",
    { onsubmit: run },
    el("h2", { id: "dialog-title" }, `${made.title} `, el("span", { class: "id" }, about.id)),
    el("p", {}, made.text),
    ...made.fields,
    error,
    el("div", { class: "actions" }, cancel, confirm),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  // What can't be undone isn't one key away.
  (made.first ?? (made.isDangerous ? cancel : confirm)).focus();
}
