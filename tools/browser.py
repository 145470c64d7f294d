"""The browser of the machine, Chromium, driven by Playwright: for the tests of the page, its pictures, its measurement.

    with chromium() as browser:
        page = new_context(browser, DESKTOP, "dark").new_page()
        page.goto("http://127.0.0.1:8000/")

Nothing is downloaded. `CHROMIUM` in the environment names the program where it is not found by its usual names.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# a browser for tests asks nobody for updates, and draws without a graphics card
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Theme = Literal["light", "dark"]


class NoBrowser(Exception):
    """There is no Chromium; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Screen:
    width: int
    height: int
    is_phone: bool = False


DESKTOP = Screen(1440, 900)
TABLET = Screen(768, 1024)
PHONE = Screen(390, 844, is_phone=True)


def executable() -> str:
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise NoBrowser("there is no Chromium: apt-get install chromium, or say in CHROMIUM where the program is")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile, which is gone afterwards."""
    program = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, screen: Screen, theme: Theme = "light", **options: Any) -> BrowserContext:
    """A visitor of its own, with nothing stored, and a screen of this size; a phone's is touched."""
    return browser.new_context(
        viewport={"width": screen.width, "height": screen.height},
        is_mobile=screen.is_phone,
        has_touch=screen.is_phone,
        color_scheme=theme,
        **options,
    )


class Metrics:
    """What the browser itself says about a page: seconds of work, bytes and nodes in use."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")

    def read(self) -> Mapping[str, float]:
        """As Performance.getMetrics names them: Timestamp, TaskDuration, ScriptDuration, Nodes, JSHeapUsedSize ..."""
        return {each["name"]: each["value"] for each in self._session.send("Performance.getMetrics")["metrics"]}

    def read_clean(self) -> Mapping[str, float]:
        """The same, after what nobody refers to any more has been thrown away."""
        self._session.send("HeapProfiler.collectGarbage")
        return self.read()


def processor_seconds(browser: Browser) -> dict[str, float]:
    """What each kind of the browser's processes has used so far: renderer, GPU (which draws), browser ..."""
    session = browser.new_browser_cdp_session()
    try:
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    finally:
        session.detach()
    seconds: dict[str, float] = {}
    for each in processes:
        seconds[each["type"]] = seconds.get(each["type"], 0.0) + each["cpuTime"]
    return seconds
