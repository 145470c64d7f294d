// The few things that all views do with the document. Text is always set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `data-...`), properties that are functions (`onclick`), and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made[name] = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Touches the document only if something changes: what is set to the same text is laid out anew otherwise. */
export function setText(node, text) {
  const only = node.firstChild;
  if (only === null) {
    if (text !== "") node.textContent = text;
  } else if (only.nodeValue !== text) {
    if (only.nodeType === Node.TEXT_NODE && only === node.lastChild) only.nodeValue = text;
    else node.textContent = text;
  }
}

export function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** The time of day where the reader is, of a Date or ISO 8601: "14:03:22". */
export function clockTime(moment) {
  const at = new Date(moment);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((each) => String(each).padStart(2, "0")).join(":");
}

/** What a person chose before, if the browser keeps such things for us. */
export function remembered(name, otherwise) {
  try {
    return localStorage.getItem(`pricetime.${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`pricetime.${name}`, value);
  } catch {
    // private windows, full disks: it will be asked again
  }
}
