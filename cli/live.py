"""What is shown live: drawn anew in place on a terminal, and as plain lines where it is read by something else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from cli.errors import CommandError
from pricetime_client import Instrument

PAUSE_SECONDS = 0.1
"""A terminal is drawn no more often; nobody could read it."""


class Screen(Protocol):
    def draw(self, picture: RenderableType) -> None: ...

    @property
    def height(self) -> int: ...


class _Terminal:
    def __init__(self, live: Live) -> None:
        self._live = live

    def draw(self, picture: RenderableType) -> None:
        self._live.update(picture, refresh=True)

    @property
    def height(self) -> int:
        return self._live.console.height


@contextmanager
def terminal() -> Iterator[Screen | None]:
    """The whole of it, until the end; None where the output is not one."""
    if not sys.stdout.isatty():
        yield None
        return
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        yield _Terminal(live)


def the_symbol(given: str | None, listed: list[Instrument]) -> str:
    """The one that is meant: that which is given, or the only one. Raises CommandError."""
    symbols = [each.symbol for each in listed]
    if given is not None and given not in symbols:
        raise CommandError(f"{given} is not listed; listed: {', '.join(symbols) or 'nothing'}")
    if given is None and len(symbols) != 1:
        raise CommandError(f"which symbol? listed: {', '.join(symbols) or 'nothing'}")
    return given or symbols[0]
