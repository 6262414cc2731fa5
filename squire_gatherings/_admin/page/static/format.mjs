// How numbers and times are written.

const NUMBER = new Intl.NumberFormat("en");
const two = (number) => String(number).padStart(2, "0");

export const count = (number) => NUMBER.format(number);

// A countdown: it shows zero from the instant of the end on, and never before.
export function countdown(seconds, tenths = true) {
  if (seconds === null) return "never";
  const left = Math.max(0, seconds);
  if (left <= 10 && tenths) return `${(Math.ceil(left * 10 - 1e-6) / 10).toFixed(1)} s`;
  const whole = Math.ceil(left - 1e-6);
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (whole < 3600) return `${minutes}:${two(whole % 60)}`;
  if (hours < 48) return `${hours}:${two(minutes)}:${two(whole % 60)}`;
  return `${count(Math.floor(hours / 24))} d ${two(hours % 24)}:${two(minutes)}`;
}

// A duration in words, with no more figures than anybody reads.
export function duration(seconds) {
  if (seconds === null) return "never";
  const whole = Math.round(seconds);
  if (seconds > 0 && seconds < 1) return lateness(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return join(Math.floor(whole / 60), "min", whole % 60, "s", whole < 600);
  if (whole < 172800) {
    return join(Math.floor(whole / 3600), "h", Math.floor(whole / 60) % 60, "min", true);
  }
  return join(Math.floor(whole / 86400), "d", Math.floor(whole / 3600) % 24, "h", whole < 864000);
}

function join(first, unit, second, subunit, isWanted) {
  const more = isWanted && second ? ` ${second} ${subunit}` : "";
  return `${count(first)} ${unit}${more}`;
}

// One unit only: for a column.
export function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
  return `${count(Math.floor(whole / 86400))} d`;
}

export function lateness(seconds) {
  if (seconds === null) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

export function rate(perSecond) {
  if (perSecond < 0.05) return "0";
  if (perSecond < 10) return perSecond.toFixed(1);
  return count(Math.round(perSecond));
}

export function bytes(number) {
  if (number === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

// A time of day, where the reader is; with its day if that isn't today.
export function timeOfDay(wall, now, zone = undefined) {
  const date = new Date(wall * 1000);
  const time = date.toLocaleTimeString("en-GB", { timeZone: zone });
  const day = (at) => at.toLocaleDateString("en-CA", { timeZone: zone });
  return day(date) === day(new Date(now * 1000)) ? time : `${day(date)} ${time}`;
}

const NAMES = {
  idle: "idle",
  empty: "empty",
  unjoined: "never joined",
  alone: "alone",
  max_age: "maximum age",
  ends_at: "fixed instant",
  admin: "by an operator",
  crashed: "crashed",
  shutdown: "shutdown",
  moved: "moved",
  evicted: "evicted",
};

export const ruleName = (rule) => NAMES[rule] ?? String(rule).replaceAll("_", " ");

// What a rule says, with its own numbers.
export function ruleText(rule, rules) {
  const span = (name) => duration(rules[name]);
  const texts = {
    idle: () => `no message for ${span("idle_timeout")}`,
    empty: () => `nobody connected for ${span("empty_timeout")}`,
    unjoined: () => `nobody has ever joined, for ${span("unjoined_timeout")}`,
    alone: () =>
      `at most ${count(rules.alone_clients)} connected, no message, for ${span("alone_timeout")}`,
    max_age: () => `open for ${span("max_age")}`,
    ends_at: () => "at the instant that was set",
  };
  return (texts[rule] ?? (() => ruleName(rule)))();
}

// What moved a deadline last.
export function movedText(moved) {
  const texts = {
    opened: "its opening",
    open: "rules given at the opening",
    left: "a client that left",
    returned: "a client that came back",
    hold: "a hold",
    extend: "an extension",
    change_rules: "other rules",
    behaviour: "its behaviour",
  };
  const what = texts[moved.what] ?? `a message (${moved.what})`;
  return moved.by === null ? what : `${what}, by ${moved.by}`;
}

// How near an end is.
export function nearness(seconds) {
  if (seconds === null) return "never";
  if (seconds <= 10) return "now";
  return seconds <= 60 ? "soon" : "later";
}

// Who is shown as being here; nothing where nobody is.
export function hereName({ users, anonymous }) {
  const parts = [];
  if (users) parts.push(`${count(users)} ${users === 1 ? "user" : "users"}`);
  if (anonymous) parts.push(`${count(anonymous)} anonymous`);
  return parts.length ? `Shown as being here: ${parts.join(", ")}` : null;
}
