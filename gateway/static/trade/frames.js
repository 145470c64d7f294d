// Drawing in step with the screen, and no more often than people can read: however many messages come in, a view is
// drawn once for all of them. A page that nobody sees draws nothing.

/** `draw` as something to be asked for: at once if it has rested for `everyMs`, otherwise when it has. */
export function drawing(draw, everyMs) {
  let waiting = false;
  let drawnAt = -Infinity;

  function onFrame(time) {
    waiting = false;
    drawnAt = time;
    draw();
  }

  return () => {
    if (waiting) return;
    waiting = true;
    const rest = drawnAt + everyMs - performance.now();
    if (rest <= 0) requestAnimationFrame(onFrame);
    else setTimeout(() => requestAnimationFrame(onFrame), rest);
  };
}
