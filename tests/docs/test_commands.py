"""Tutorial and how-tos, pasted from top to bottom in front of one real exchange.

Goal: whoever does what they say gets what they say. Method: each page is read by tests/support/pages.py, in an empty
folder. The exchange is the one that the tutorial starts. `make tutorial` does the same as somebody who has installed
nothing yet: there the installation is pasted, too.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.servers import free_port
from tests.support.pages import ROOT, Reader, steps
from tests.support.servers import temporary_folder

pytestmark = pytest.mark.stack

TUTORIAL = ROOT / "docs/tutorial.md"
HOW_TO = ROOT / "docs/how-to"
OWN = ("back-up-and-restore", "open-to-others")
"""How-tos that stop the exchange, or close it to those without a key: they come last, in this order."""


def pages() -> list[Path]:
    how_tos = sorted(HOW_TO.glob("*.md"), key=lambda page: (page.stem in OWN, page.stem))
    return [TUTORIAL, *how_tos]


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with temporary_folder() as folder:
        found = Reader(folder, {port: free_port("127.0.0.1") for port in (8000, 8001, 4222)})
        try:
            yield found
        finally:
            found.leave()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_a_page_shows_works(page: Path, reader: Reader) -> None:
    if page != TUTORIAL and not reader.terminals:  # only some pages are tested
        reader.begin("pricetime up", "Ctrl-C")
    reader.read(page)
    assert any(step.is_run for step in steps(page.read_text()))
