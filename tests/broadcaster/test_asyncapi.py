"""The AsyncAPI document: written as it is in the code, whole in itself, and about what there is.

That every frame fits it is held wherever a test reads one (tests/support/streams.py).
"""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from broadcaster import messages, protocol
from broadcaster.asyncapi import REQUESTS, document
from entry.stream_codes import STREAM_CODES
from tests.support.streams import DOCUMENT, SCHEMA_OF, check, check_request

ROOT = Path(__file__).parents[2]
STREAMS = (ROOT / "docs" / "streams.md").read_text()


def test_the_file_is_the_document() -> None:
    """If not: python -m broadcaster.asyncapi > docs/asyncapi.json"""
    written = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    assert written == json.loads(json.dumps(document(written["info"]["version"])))


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 100
    for reference in references:
        found: Any = DOCUMENT
        for key in reference.split("/"):
            found = found[key]


def test_every_schema_is_one() -> None:
    for name in DOCUMENT["components"]["schemas"]:
        jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def test_every_message_of_the_server_is_in_it() -> None:
    structs = {
        name
        for name, kind in vars(messages).items()
        if isinstance(kind, type)
        and "type" in getattr(kind, "__struct_fields__", ())
        and kind.__module__ == messages.__name__
    }
    assert set(SCHEMA_OF.values()) == structs


def test_every_operation_is_in_it() -> None:
    named = {"".join(part.title() for part in op.split("_")) + "Request" for op in protocol.OPERATIONS}
    assert named == set(REQUESTS)


@pytest.mark.parametrize("name", [*protocol.OPERATIONS, *protocol.CHANNELS, *STREAM_CODES])
def test_every_operation_channel_and_code_is_explained(name: str) -> None:
    assert f"`{name}`" in STREAMS


def frames_of(mark: str) -> list[str]:
    """The complete frames among the examples."""
    return [line[2:] for line in STREAMS.splitlines() if line.startswith(f"{mark} ") and "..." not in line]


def test_the_examples_are_real() -> None:
    requests = [json.loads(line) for line in frames_of(">")]
    assert len(requests) > 12
    for request in requests:
        if request["op"] in protocol.OPERATIONS:
            check_request(request)
    answers = [json.loads(line) for line in frames_of("<")]
    assert len(answers) > 8
    for answer in answers:
        check(SCHEMA_OF[answer.get("channel"), answer["type"]], answer)


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        ("Heartbeat", {"type": "heartbeat", "time": "now"}),
        ("Heartbeat", {"type": "heartbeat", "time": "now", "sequence": "1"}),
        ("Heartbeat", {"type": "heartbeat", "time": "now", "sequence": 1, "more": 1}),
        ("BookChange", {"channel": "book", "type": "snapshot"}),
        ("SubscribeRequest", {"op": "subscribe", "channel": "book"}),
        ("SubscribeRequest", {"op": "subscribe", "channel": "trades", "levels": 1}),
        ("PlaceRequest", {"op": "place", "side": "up", "quantity": "1"}),
    ],
)
def test_what_does_not_fit_is_noticed(schema: str, content: Any) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        check(schema, content)
