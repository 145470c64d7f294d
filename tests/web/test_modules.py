"""The page's own modules that need no browser: their tests are in unit/ and run in Node.js."""

import subprocess
from pathlib import Path

from tests.support.node import node

UNIT = Path(__file__).parent / "unit"
TRADE = Path(__file__).parents[2] / "gateway" / "static" / "trade"


def test_the_modules_do_what_they_say() -> None:
    files = sorted(UNIT.glob("*.test.mjs"))
    assert files
    done = subprocess.run([node(), "--test", *files], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_module_that_does_without_a_document_has_a_test() -> None:
    pure = {each.stem for each in TRADE.glob("*.js") if not _needs_document(each.read_text())}
    assert {each.name.removesuffix(".test.mjs") for each in UNIT.glob("*.test.mjs")} == pure


def _needs_document(source: str) -> bool:
    return "document." in source or "./dom.js" in source or "requestAnimationFrame" in source
