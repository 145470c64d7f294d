// Keys for everything that is done often. They are for the page, not for its fields: what is typed into one stays there,
// but for Escape, which leaves it.

import { byId } from "./dom.js";

const TYPING = "input, select, textarea, [contenteditable]";

/** `actions`: key to what it does; a capital letter needs Shift. Those that the browser needs are not taken away. */
export function listenToKeys(actions) {
  const help = byId("help");
  byId("help-button").addEventListener("click", () => help.showModal());
  byId("help-close").addEventListener("click", () => help.close());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const isTyping = event.target.matches?.(TYPING) && !["radio", "checkbox"].includes(event.target.type);
    if (event.key === "Escape") {
      if (event.target !== document.body) event.target.blur?.();
      return;
    }
    if (isTyping) return;
    const action = event.key === "?" ? () => help.showModal() : (actions[event.key] ?? actions[event.key.toLowerCase()]);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}
