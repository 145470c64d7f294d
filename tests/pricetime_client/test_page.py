"""docs/client.md is true: its samples run as they are printed, and it names all there is."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pricetime_client import AsyncExchange, Exchange, Stream
from tests.support.stack import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
SAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SAID = ["open", "True", "off_tick -", "100.00 1.00000000", "Canceled(canceled=4, ", "100.00 live", "live"]
"""What the samples print, one after the other."""


def test_every_sample_is_expected_to_say_something() -> None:
    assert len(SAMPLES) == len(SAID)


@pytest.mark.stack
def test_the_samples_run(stack: Stack) -> None:
    """One after the other in one process of their own, as starting seven would take longer than all they do.

    With an instrument of their own: in the other's book is what other tests have left.
    """
    with Exchange(stack.http) as exchange:
        exchange.define_instrument("PAGE-USD", tick_size="0.01", lot_size="0.00000001")
    program = "\nprint('----')\n".join(SAMPLES)
    program = program.replace("http://127.0.0.1:8000", stack.http).replace("BTC-USD", "PAGE-USD")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for printed, expected in zip(done.stdout.split("----\n"), SAID, strict=True):
        assert expected in printed


@pytest.mark.parametrize(
    "name",
    sorted(
        {name for kind in (AsyncExchange, Stream) for name, _ in inspect.getmembers(kind, inspect.isfunction)}
        - {"was_read", "tidy"}
    ),
)
def test_every_method_is_named(name: str) -> None:
    assert name[0] == "_" or name == "close" or f"`{name}`" in PAGE
