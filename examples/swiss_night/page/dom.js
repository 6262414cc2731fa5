/** Elements, made from code: text is always text, never markup. */

/**
 * @param {string} tag A tag, and classes: `button.primary`.
 * @param {Record<string, any>} properties Attributes; `onclick` and the like are listeners.
 * @param {...(Node | string | number | null | false)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((one) => one !== null && one !== false).map(asNode));
  return element;
}

/** @param {any} child */
const asNode = (child) => (child instanceof Node ? child : String(child));

/**
 * Show other content, and leave the focus on what has the same `data-key`.
 * @param {Element} place
 * @param {...(Node | null | false)} children
 */
export function show(place, ...children) {
  const active = document.activeElement;
  const key = active instanceof HTMLElement && place.contains(active) && active.dataset.key;
  place.replaceChildren(.../** @type {Node[]} */ (children.filter(Boolean)));
  if (!key) return;
  const again = place.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again instanceof HTMLElement) again.focus({ preventScroll: true });
}
