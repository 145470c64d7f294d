"use strict";
// Keeps the figures of the start page current; a failed request leaves the last ones standing, greyed.
const ticker = document.querySelector(".ticker");
const figures = ["best_bid", "best_ask", "last_price", "volume_24h"];

document.getElementById("origin").textContent = location.origin;

async function refresh() {
  try {
    const answer = await fetch(`/market/${encodeURIComponent(ticker.dataset.symbol)}`);
    if (!answer.ok) throw new Error(String(answer.status));
    const market = await answer.json();
    for (const name of figures) document.getElementById(name).textContent = market[name] ?? "–";
    ticker.style.opacity = 1;
  } catch {
    ticker.style.opacity = 0.5;
  }
  setTimeout(refresh, document.hidden ? 10000 : 1000);
}

refresh();
