// Light or dark. A classic script in the head, so that the page is never drawn in the wrong one first.
"use strict";
{
  const system = matchMedia("(prefers-color-scheme: dark)");

  const chosen = () => {
    try {
      return localStorage.getItem("pricetime.theme");
    } catch {
      return null;
    }
  };

  const apply = () => {
    document.documentElement.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
    document.dispatchEvent(new Event("themechange"));
  };

  apply();
  system.addEventListener("change", apply);

  globalThis.toggleTheme = () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("pricetime.theme", other);
    } catch {
      // it lasts as long as the page, then
    }
    document.documentElement.dataset.theme = other;
    document.dispatchEvent(new Event("themechange"));
  };
}
