import { connect } from "./squire-gatherings/index.js";
import { Life } from "./life.js";

const wanted = new URL(location.href).searchParams;
/** @type {Life[]} The tab's own, which goes together with other tabs, and some that are alone. */
const lives = (window.lives = [new Life(connect, wanted.get("url"), "room", {})]);
for (let count = Number(wanted.get("alone") ?? 0); count; count--) {
  lives.push(new Life(connect, wanted.get("url"), "room", { tabs: false }));
}
window.life = lives[0];
window.events = [];
const note = (what) => window.events.push(what);
addEventListener("error", ({ message }) => lives[0].errors.push(message));
addEventListener("unhandledrejection", ({ reason }) => lives[0].errors.push(`unhandled: ${reason}`));
addEventListener("pageshow", ({ persisted }) => note(persisted ? "back" : "shown"));
addEventListener("online", () => note("online"));
addEventListener("offline", () => note("offline"));
document.addEventListener("freeze", () => note("freeze"));
document.addEventListener("resume", () => note("resume"));
document.addEventListener("visibilitychange", () => note(document.visibilityState));
lives[0].room.addEventListener("status", ({ detail }) => note(detail));
document.body.dataset.ready = "yes";
