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
export const thisPage = {
  isVisible: () => globalThis.document?.visibilityState !== "hidden",

  watch(handlers) {
    const watched = new AbortController();
    /**
     * @param {EventTarget | undefined} target
     * @param {string} type
     * @param {(event: any) => void} handle
     */
    const on = (target, type, handle) =>
      target?.addEventListener?.(type, handle, { signal: watched.signal });
    const { document, window } = globalThis;
    // A worker has a network, and no page.
    const scope = window ?? (typeof globalThis.addEventListener === "function" ? globalThis : undefined);
    on(scope, "online", handlers.online);
    on(scope, "offline", handlers.offline);
    on(document, "visibilitychange", () =>
      document.visibilityState === "hidden" ? handlers.hidden() : handlers.visible(),
    );
    on(window, "pagehide", handlers.suspend);
    on(window, "pageshow", (event) => event.persisted && handlers.resume());
    on(document, "freeze", handlers.suspend);
    on(document, "resume", handlers.resume);
    return () => watched.abort();
  },
};
