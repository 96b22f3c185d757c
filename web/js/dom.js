// Small helpers to build the page's elements.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param attributes `class`, `aria-*`, `data-*` and so on; functions become event listeners
 */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Whether a scrolled box shows its end, so that new lines should keep it there. */
export function isAtEnd(box) {
  return box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}
