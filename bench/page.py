"""`python -m bench.page`: what the trading page costs the browser, and whether it stays as it is.

The whole stack runs as `pricetime up` runs it, the page is open in Chromium with its ladder, charts and tape on a book
of 200 levels on each side, and 200 times a second a level changes (bench/page_load.py). What the page uses is what the
browser itself says (Performance.getMetrics, SystemInfo.getProcessInfo); memory is read after garbage was collected.

Judged: the page's main thread, and the renderer process with all of its threads, use less than half a core; heap and
nodes do not grow (the line through the second half, as in bench/soak_report.py).
"""

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from playwright.sync_api import Browser, Page

from bench.command import forget_settings
from bench.machine import describe
from bench.machine import load as machine_load
from bench.page_load import Sent, Wandering, prepare, send
from bench.page_report import PageRun, Sample, Scene, markdown
from bench.programs import ROOT, NotStarted, whole_stack
from tools.browser import DESKTOP, Metrics, NoBrowser, chromium, new_context, processor_seconds

FOLDER = ROOT / "docs" / "benchmarks"
SYMBOL = "PAGE-LOAD"
_LEVELS = 200
_RATE = 200.0
_SAMPLE_SECONDS = 10.0
_WARM_UP_SECONDS = 5.0
_SEED = 20261121

Say = Callable[[str], None]


@dataclass(slots=True)
class Watch:
    """Reads the page's metrics now and then. `problems`: what it said on its console."""

    browser: Browser
    page: Page
    sent: Sent
    problems: list[str] = field(default_factory=list)

    def samples(self, seconds: float, every: float) -> list[Sample]:
        """Each is of the time since the one before; collecting garbage between them counts for none."""
        metrics, found, started = Metrics(self.page), [], time.monotonic()
        while time.monotonic() - started < seconds:
            begin, used, changes = metrics.read(), processor_seconds(self.browser), self.sent.answers
            self.page.wait_for_timeout(1000 * every)
            end, used_then = metrics.read(), processor_seconds(self.browser)
            lasted, clean = end["Timestamp"] - begin["Timestamp"], metrics.read_clean()
            found.append(
                Sample(
                    at=time.monotonic() - started,
                    changes=(self.sent.answers - changes) / lasted,
                    main_thread=(end["ThreadTime"] - begin["ThreadTime"]) / lasted,
                    tasks=(end["TaskDuration"] - begin["TaskDuration"]) / lasted,
                    script=(end["ScriptDuration"] - begin["ScriptDuration"]) / lasted,
                    layout=sum(end[name] - begin[name] for name in ("LayoutDuration", "RecalcStyleDuration")) / lasted,
                    processes={kind: (used_then[kind] - used.get(kind, 0.0)) / lasted for kind in used_then},
                    heap_megabytes=clean["JSHeapUsedSize"] / 1e6,
                    nodes=int(clean["Nodes"]),
                    listeners=int(clean["JSEventListeners"]),
                )
            )
        return found


def open_page(browser: Browser, http: str, problems: list[str]) -> Page:
    page = new_context(browser, DESKTOP, "dark").new_page()
    page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(http)
    page.locator(f"#symbol option[value={SYMBOL}]").wait_for(state="attached")
    page.locator("#symbol").select_option(SYMBOL)
    page.locator("#connection[data-state=live]").wait_for()
    page.locator("#ladder [data-side=bid][data-price]").first.wait_for()
    return page


def scene_of(page: Page, browser: Browser) -> Scene:
    """What there is to see, so that nobody measures an empty page."""
    rows = page.locator("#ladder [data-price]").count()
    canvases = page.locator("canvas").count()
    return Scene(
        browser=f"Chromium {browser.version}", rows=rows, canvases=canvases, tape=page.locator("#tape > *").count()
    )


def watch(http: str, sent: Sent, seconds: float, every: float, say: Say) -> tuple[Scene, list[Sample], list[str]]:
    with chromium() as browser:
        problems: list[str] = []
        page = open_page(browser, http, problems)
        page.wait_for_timeout(1000 * _WARM_UP_SECONDS)
        scene = scene_of(page, browser)
        say(f"watching for {seconds / 60:g} minutes: {scene.rows} rows in the ladder, {scene.canvases} canvases")
        return scene, Watch(browser, page, sent).samples(seconds, every), problems


async def measure(folder: Path, seconds: float, say: Say) -> PageRun:
    say("starting the whole stack")
    async with whole_stack(folder) as stack:
        wandering, stop, sent = Wandering(SYMBOL, _LEVELS, random.Random(_SEED)), threading.Event(), Sent()
        await asyncio.to_thread(prepare, stack.http, wandering)
        sending = asyncio.create_task(send(stack.ws, wandering, _RATE, stop, sent))
        try:
            scene, samples, problems = await asyncio.to_thread(watch, stack.http, sent, seconds, _SAMPLE_SECONDS, say)
        finally:
            stop.set()
            await sending
    problems += [f"{count} changes were refused: {code}" for code, count in sent.refused.items()]
    return PageRun(_LEVELS, _RATE, scene, samples, problems)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page",
        description="What the trading page costs the browser, by the browser's own metrics.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long (default: 10)")
    parser.add_argument("--write", action="store_true", help=f"write page.md into {FOLDER.name}/")
    chosen = parser.parse_args(arguments)
    forget_settings()
    try:
        with tempfile.TemporaryDirectory(prefix="pricetime-page-", ignore_cleanup_errors=True) as at:
            machine = describe(Path(at))
            say = lambda what: print(what, file=sys.stderr, flush=True)  # noqa: E731
            run = uvloop.run(measure(Path(at), 60 * chosen.minutes, say))
    except (NotStarted, NoBrowser, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    machine["load after"] = machine_load()
    report = markdown(run, machine, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    print(report)
    if chosen.write:
        (FOLDER / "page.md").write_text(report)
    return 0 if run.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
