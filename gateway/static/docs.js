"use strict";
// Everything is served from here: no validator, no spec from elsewhere named in the address.
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#api",
  validatorUrl: null,
  queryConfigEnabled: false,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What Swagger UI leaves without a name, or out of reach of the keyboard. It draws parts anew at any time.
const NAMES = {
  ".examples-select-element": "Example",
  ".body-param__text": "Request body",
  ".close-modal": "Close",
};

function mend(page) {
  for (const [part, name] of Object.entries(NAMES)) {
    for (const each of page.querySelectorAll(part)) each.setAttribute("aria-label", name);
  }
  for (const each of page.querySelectorAll(".microlight")) each.tabIndex = 0; // it scrolls
  // a link within a button: the button does the same, and the address follows
  for (const each of page.querySelectorAll("button a[href]")) each.removeAttribute("href");
  // named otherwise than it reads
  for (const each of page.querySelectorAll("[aria-label='Apply credentials']")) each.removeAttribute("aria-label");
}

const page = document.getElementById("api");
new MutationObserver(() => mend(page)).observe(page, { childList: true, subtree: true });
