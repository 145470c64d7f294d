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
