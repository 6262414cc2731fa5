/**
 * The page, as far as it concerns connections: whether somebody sees it, whether it goes into the
 * back and forward cache or is frozen, and whether there's a network. Outside of browsers there is
 * none: a program is always seen.
 */
/**
 * @typedef {object} PageHandlers
 * @property {() => void} visible Somebody looks at it again.
 * @property {() => void} hidden Nobody does; timers fire rarely from now on.
 * @property {() => void} suspend It is about to stand still, perhaps for ever.
 * @property {() => void} resume It goes on.
 * @property {() => void} online There's a network again.
 * @property {() => void} offline There's none, the browser thinks.
 */
/** @typedef {{ isVisible: () => boolean, watch: (handlers: PageHandlers) => () => void }} Page */
/** @type {Page} */
export const thisPage: Page;
export type PageHandlers = {
    /**
     * Somebody looks at it again.
     */
    visible: () => void;
    /**
     * Nobody does; timers fire rarely from now on.
     */
    hidden: () => void;
    /**
     * It is about to stand still, perhaps for ever.
     */
    suspend: () => void;
    /**
     * It goes on.
     */
    resume: () => void;
    /**
     * There's a network again.
     */
    online: () => void;
    /**
     * There's none, the browser thinks.
     */
    offline: () => void;
};
export type Page = {
    isVisible: () => boolean;
    watch: (handlers: PageHandlers) => () => void;
};
