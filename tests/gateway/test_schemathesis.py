"""Does the running exchange answer as its OpenAPI document says, whatever it is sent?

Goal: no 5xx, no answer that the document does not have, nothing accepted that it forbids or refused that it allows.
Method: Schemathesis makes requests from the document (seeded), good and bad, alone and in sequences. Once with the
document as it is, and once narrowed to instruments that exist and prices on tick, so that many orders are accepted.
`use_after_free` is left out: a canceled order can still be read, by design.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

CONFIG = Path(__file__).with_name("schemathesis.toml")
COMMAND = Path(sys.executable).with_name("schemathesis")
SEED = 20250501
EXAMPLES = int(os.environ.get("PRICETIME_DOCUMENT_EXAMPLES", "2"))
"""Of each operation; `make prove` makes more. No time is given: a slow machine would look at nothing, and say that."""


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Schemathesis cancels and lists whatever it likes."""
    with running_stack() as started:
        yield started


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    parameters = document["components"]["parameters"]
    for name in ("symbol", "symbol_in_path"):
        parameters[name]["schema"] = {"enum": ["BTC-USD", "TIN"]}
    parameters["order_id"]["schema"] = {"type": "integer", "minimum": 1, "maximum": 200}
    order = document["components"]["schemas"]["PlaceOrder"]
    order["properties"]["symbol"] = {"enum": ["BTC-USD"]}
    order["properties"]["price"] = {"type": "string", "pattern": r"^(9[5-9]|10[0-5])\.[0-9]{2}$"}
    order["properties"]["quantity"] = {"type": "integer", "minimum": 1, "maximum": 100}
    order["properties"]["type"] = {"enum": ["limit"]}
    order["properties"]["post_only"] = {"enum": [False]}
    order["required"] += ["price"]
    del order["properties"]["client_order_id"]
    order["properties"]["time_in_force"] = {"enum": ["GTC", "IOC", "FOK", "DAY"]}
    for name in ("stop_price", "display_quantity", "protection_price", "notional", "expires_at"):
        del order["properties"][name]
    del order["anyOf"]
    order["required"] += ["quantity"]
    return document


@pytest.mark.parametrize(("change", "mode"), [(dict, "all"), (narrowed, "positive")], ids=["as it is", "narrowed"])
def test_the_document_and_the_server_agree(
    own_stack: Stack, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], mode: str
) -> None:
    document = change(httpx.get(f"{own_stack.http}/docs/openapi.json", trust_env=False).json())
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    arguments = ["--config-file", str(CONFIG), "run", "openapi.json", "--url", own_stack.http, "--no-color"]
    arguments += ["--checks", "all", "--exclude-checks", "use_after_free", "--mode", mode]
    arguments += ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--continue-on-failure"]
    done = subprocess.run(
        [str(COMMAND), *arguments],
        cwd=tmp_path,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=280 + 60 * EXAMPLES,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
