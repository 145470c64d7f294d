"""Pictures of the trading page for the README, of a demo that really runs: `make screenshots`.

    python -m tools.screenshots [--seconds N] [--folder DIR]

Starts `pricetime demo` on free ports with data of its own, lets its traders make some history, trades a little as a
visitor would, and writes trading-desktop.png (dark) and trading-phone.png (light).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page

from cli.errors import CommandError
from cli.processes import Program, spawn, stop
from cli.runfile import read_run_file
from tools.browser import DESKTOP, PHONE, NoBrowser, Screen, Theme, chromium, new_context

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "images"
MAX_BYTES = 300_000
_ACCOUNT = "you"
_START_SECONDS = 90.0
_SPEED = "3"
"""Busy enough that there is a trade in almost every second."""
_PORTS = ("--http-port", "0", "--ws-port", "0", "--nats-port", "0")


class NotTaken(Exception):
    """There is no picture; the message says why."""


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """A running demo. Gives the address of its page."""
    data, log = folder / "data", folder / "demo.log"
    command = (sys.executable, "-m", "cli.main", "demo", "--speed", _SPEED, "--data", str(data), *_PORTS)
    program = Program(name="pricetime demo", command=command, environment={"PYTHONPATH": str(ROOT)}, stop_seconds=60)
    with log.open("ab") as output:
        process = spawn(program, output)
    try:
        wait(lambda: process.poll() is not None or _is_ready(data), _START_SECONDS)
        if not _is_ready(data):
            raise NotTaken(f"the demo does not run. It said:\n{log.read_text()[-2000:]}")
        yield read_run_file(data).http
    finally:
        stop(process, program)


def _is_ready(data: Path) -> bool:
    try:
        return read_run_file(data).ready
    except CommandError:
        return False


def wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def trade_a_little(http: str) -> str:
    """Orders and a trade of the visitor's, so that there is something in every part. Returns the symbol."""
    with httpx.Client(base_url=http, timeout=30, trust_env=False) as client:
        symbol: str = client.get("/config.json").raise_for_status().json()["default_symbol"]
        tick = float(client.get(f"/instruments/{symbol}").raise_for_status().json()["tick_size"])
        depth = client.get(f"/market/{symbol}/depth?levels=20").raise_for_status().json()
        bids, asks = ([float(price) for price, _ in depth[side]] for side in ("bids", "asks"))
        if not bids or not asks:
            raise NotTaken(f"the demo's traders have no book of {symbol}")
        digits = max(0, len(f"{tick:f}".rstrip("0").partition(".")[2]))
        for terms in (
            {"side": "buy", "type": "market", "quantity": "0.5"},
            {"side": "buy", "price": f"{bids[min(4, len(bids) - 1)]:.{digits}f}", "quantity": "1.25"},
            {"side": "sell", "price": f"{asks[min(6, len(asks) - 1)]:.{digits}f}", "quantity": "0.75"},
        ):
            client.post("/orders", json={"symbol": symbol, "account": _ACCOUNT, **terms}).raise_for_status()
        return symbol


def take(browser: Browser, http: str, symbol: str, screen: Screen, theme: Theme, path: Path) -> None:
    context = new_context(browser, screen, theme, device_scale_factor=2 if screen.is_phone else 1)
    try:
        page = context.new_page()
        page.goto(http)
        show(page, symbol)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path)
    finally:
        context.close()
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise NotTaken(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}")
    print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {size:,} bytes")


def show(page: Page, symbol: str) -> None:
    """Return when every part of the page has something in it."""
    page.locator(f"#symbol option[value='{symbol}']").wait_for(state="attached")
    page.locator("#symbol").select_option(symbol)
    page.locator("#account").fill(_ACCOUNT)
    page.locator("#account").press("Enter")
    page.locator("#interval").select_option("1s")
    for part in (
        "#connection[data-state=live]",
        "#ladder [data-side=bid][data-price]",
        "#tape > *",
        "#open-orders [data-order-id]",
    ):
        page.locator(part).first.wait_for(state="attached")
    place(page)
    page.keyboard.press("Escape")  # nothing has the focus
    page.evaluate("scrollTo(0, 0); document.querySelectorAll('.pane').forEach((pane) => (pane.scrollTop = 0))")
    page.wait_for_timeout(3_000)  # charts and tape move on


def place(page: Page) -> None:
    """An order as a visitor places it: a click on a level, a quantity, the button."""
    page.locator("#bids .price").nth(14).click()
    page.locator("#quantity").fill("0.5")
    page.locator("#order-submit").click()
    page.locator("#order-message[data-kind=good]").wait_for()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description="Pictures of the trading page.")
    parser.add_argument("--seconds", type=float, default=180.0, metavar="N", help="of trading before (default: 180)")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="where to (default: docs/images)")
    chosen = parser.parse_args()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pricetime-demo-", ignore_cleanup_errors=True) as at,
            demo(Path(at)) as http,
            chromium() as browser,
        ):
            time.sleep(chosen.seconds)
            symbol = trade_a_little(http)
            take(browser, http, symbol, DESKTOP, "dark", chosen.folder / "trading-desktop.png")
            take(browser, http, symbol, PHONE, "light", chosen.folder / "trading-phone.png")
    except (NotTaken, NoBrowser, httpx.HTTPError) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
