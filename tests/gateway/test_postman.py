"""The Postman collection against the running exchange, with newman; and it leaves no address out."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.openapi import OPERATIONS
from tests.support.node import node
from tests.support.stack import Stack

FOLDER = Path(__file__).parents[1] / "postman"
COLLECTION = FOLDER / "pricetime.postman_collection.json"
NEWMAN = FOLDER / "node_modules" / "newman" / "bin" / "newman.js"
_VARIABLES = {
    "order_id": r"\{\{(maker|stop|batched)\}\}",
    "symbol": r"\{\{symbol\}\}",
    "account": r"\{\{account\}\}",
    "client_order_id": "named-1",
    "command_id": r"\{\{command\}\}",
}


def requests(folder: Any) -> Iterator[Any]:
    for item in folder["item"]:
        if "request" in item:
            yield item
        else:
            yield from requests(item)


def collection() -> list[Any]:
    return list(requests(json.loads(COLLECTION.read_text())))


def test_every_operation_is_in_the_collection() -> None:
    sent = {
        (item["request"]["method"].lower(), "/" + "/".join(item["request"]["url"]["path"])) for item in collection()
    }
    for operation in OPERATIONS:
        pattern = re.sub(r"\{(\w+)\}", lambda match: _VARIABLES[match[1]], operation.path)
        assert any(method == operation.method and re.fullmatch(pattern, path) for method, path in sent), operation.name


def test_every_request_has_tests() -> None:
    for item in collection():
        script = "\n".join(item["event"][0]["script"]["exec"])
        assert "pm.response.to.have.status" in script, item["name"]


@pytest.mark.stack
def test_newman_finds_nothing(stack: Stack) -> None:
    assert NEWMAN.exists(), "newman is not installed; run `make node`"
    done = subprocess.run(
        [node(), str(NEWMAN), "run", str(COLLECTION), "--env-var", f"base_url={stack.http}", "--color", "off"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
