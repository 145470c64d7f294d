// Drawing in step with the screen, and no more often than people can read: however many messages come in, a view is
// drawn once for all of them, and all views together, so that the page is laid out once. One that nobody sees draws
// nothing.

const TICK_MS = 100;

const waiting = new Set();
let isScheduled = false;
let drawnAt = -Infinity;

/** `draw` as something to be asked for: it is drawn with the next tick, but not more often than each `everyMs`. */
export function drawing(draw, everyMs = TICK_MS) {
  const view = { draw, everyMs, drawnAt: -Infinity };
  return () => {
    waiting.add(view);
    schedule();
  };
}

function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  const rest = drawnAt + TICK_MS - performance.now();
  if (rest <= 0) requestAnimationFrame(onFrame);
  else setTimeout(() => requestAnimationFrame(onFrame), rest);
}

function onFrame(time) {
  isScheduled = false;
  drawnAt = time;
  for (const view of waiting) {
    if (time - view.drawnAt < view.everyMs - TICK_MS / 2) continue;
    waiting.delete(view);
    view.drawnAt = time;
    view.draw();
  }
  if (waiting.size > 0) schedule();
}
