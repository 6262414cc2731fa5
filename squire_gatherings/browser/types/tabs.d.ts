/** @returns {Browser | null} The browser in whose tab this is, if its tabs can go together. */
export function thisBrowser(): Browser | null;
export function alone(parts: TabsParts): Tabs;
export function together(browser: Browser): MakeTabs;
export type Route = import("./connection.js").Route;
export type Session = import("./session.js").Session;
export type Status = import("./session.js").Status;
export type TabsParts = {
    /**
     * What the room is called in this browser.
     */
    name: string;
    /**
     * A random name of this tab.
     */
    tab: string;
    session: Session;
    /**
     * The way to the server.
     */
    server: Route;
};
export type Tabs = {
    /**
     * Whether this tab has the connection.
     */
    leads: boolean;
    /**
     * The way to the gathering; null while nobody is known to lead.
     */
    route: Route | null;
    /**
     * What the one that leads does; null where that is this one.
     */
    status: Status | null;
    relay: Relay;
    start: () => void;
    stop: () => void;
};
export type MakeTabs = (parts: TabsParts) => Tabs;
/**
 * What tabs need of their browser.
 */
export type Browser = {
    locks: Pick<LockManager, "request">;
    open: (name: string) => Pick<BroadcastChannel, "onmessage" | "postMessage" | "close">;
};
import { Relay } from "./relay.js";
