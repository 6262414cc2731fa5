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

/** What has listeners: it's kept as it is, or replaced. */
const WHOLE = new Set(["BUTTON", "FORM", "INPUT", "SELECT"]);

/**
 * Show other content. What is equal stays the same element: a finger that is on a button while
 * others play presses that button. So what does something else has another `data-key`.
 * @param {Element} place
 * @param {...(Node | null | false)} children
 */
export function show(place, ...children) {
  const wanted = /** @type {Node[]} */ (children.filter(Boolean));
  const active = document.activeElement;
  const key = active instanceof HTMLElement && place.contains(active) && active.dataset.key;
  become(place, wanted);
  if (!key || place.contains(document.activeElement)) return;
  const again = place.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again instanceof HTMLElement) again.focus({ preventScroll: true });
}

/** @param {Element} place @param {Node[]} wanted */
function become(place, wanted) {
  wanted.forEach((next, index) => {
    const old = place.childNodes[index];
    if (!old) place.append(next);
    else if (!old.isEqualNode(next) && !changed(old, next)) place.replaceChild(next, old);
  });
  while (place.childNodes.length > wanted.length) place.lastChild?.remove();
}

/** Make one element the other; false where it must be replaced. @param {Node} old @param {Node} next */
function changed(old, next) {
  if (!(old instanceof Element && next instanceof Element)) return false;
  if (old.tagName !== next.tagName || WHOLE.has(old.tagName)) return false;
  for (const name of old.getAttributeNames()) {
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of next.getAttributeNames()) {
    old.setAttribute(name, /** @type {string} */ (next.getAttribute(name)));
  }
  become(old, [...next.childNodes]);
  return true;
}
