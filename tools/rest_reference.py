"""docs/reference/rest.md and docs/reference/shapes.md: every request of REST and what is sent, from its OpenAPI.

python -m tools.rest_reference --write     after a change of the interface; a test holds that the pages are up to date
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gateway.openapi import document

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
JSON = "application/json"

_REST_HEAD = """\
# REST

Every request, made from the [OpenAPI document](http://localhost:8000/docs/openapi.json) that a running exchange serves,
by `python -m tools.rest_reference --write`. To try them in the browser: [/docs](http://localhost:8000/docs). Bodies and
answers are the [shapes](shapes.md), refusals the [error codes](errors.md).
"""
_SHAPES_HEAD = """\
# Shapes

What the requests of [REST](rest.md) send and answer; WebSocket and NATS use the same. Made from the OpenAPI document,
by `python -m tools.rest_reference --write`. A **decimal** is a string in answers; in requests a string or a number, of
which the literal counts; words may be in upper or lower case. A **time** is ISO 8601 in UTC with microseconds. What is
left out of a request is as good as null.
"""
_ALWAYS = ("401", "403", "429", "500")
"""Statuses that almost every request may have, told once."""

Schema = dict[str, Any]


def pages() -> dict[Path, str]:
    described = document("")
    return {FOLDER / "rest.md": rest_page(described), FOLDER / "shapes.md": shapes_page(described)}


# Requests


def rest_page(described: Schema) -> str:
    parts = [_REST_HEAD, described["info"]["description"].replace("(/docs/errors)", "(errors.md)").strip(), ""]
    always = ", ".join(f"`{status}`" for status in _ALWAYS)
    parts += [f"Statuses {always} may come with every request and are not repeated: [error codes](errors.md).", ""]
    for tag in described["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n")
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    parts.extend(_operation(described, f"{method.upper()} {path}", operation))
    return "\n".join(parts).rstrip() + "\n"


def _operation(described: Schema, address: str, operation: Schema) -> Iterator[str]:
    yield f"### {address}"
    yield f"{operation['summary']}. {operation.get('description', '')}".strip() + "\n"
    if body := operation.get("requestBody"):
        yield f"Body: {type_of(body['content'][JSON]['schema'])}.\n"
    if parameters := [_found(described, each) for each in operation.get("parameters", [])]:
        yield "| parameter | in | type | |"
        yield "|---|---|---|---|"
        for each in parameters:
            needed = "needed. " if each.get("required") and each["in"] != "path" else ""
            about = _cell(needed + each.get("description", ""))
            yield f"| `{each['name']}` | {each['in']} | {type_of(each['schema'])} | {about} |"
        yield ""
    yield "| status | answer |"
    yield "|---|---|"
    for status, response in operation["responses"].items():
        if status not in _ALWAYS:
            yield f"| {status} | {_answer(response)} |"
    yield ""


def _answer(response: Schema) -> str:
    if codes := re.findall(r"^- `(\w+)`", response["description"], re.MULTILINE):
        return ", ".join(f"`{code}`" for code in codes)
    content = response.get("content", {}).get(JSON)
    shape = f": {type_of(content['schema'])}" if content else ""
    return _cell(response["description"]) + shape


def _found(described: Schema, value: Schema) -> Schema:
    if "$ref" not in value:
        return value
    found: Any = described
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    assert isinstance(found, dict)
    return found


# Shapes


def shapes_page(described: Schema) -> str:
    parts = [_SHAPES_HEAD]
    for name, schema in described["components"]["schemas"].items():
        parts.append(f"## {name}")
        if about := schema.get("description"):
            parts.append(f"{about}\n")
        parts.extend(_fields(schema) if "properties" in schema else [f"{type_of(schema)}\n"])
    return "\n".join(parts).rstrip() + "\n"


def _fields(schema: Schema) -> Iterator[str]:
    needed = schema.get("required", ())
    yield "| field | type | |"
    yield "|---|---|---|"
    for name, each in schema["properties"].items():
        about = [] if name in needed else ["optional"]
        yield f"| `{name}` | {type_of(each)} | {_cell('. '.join([*about, *filter(None, [each.get('description')])]))} |"
    yield ""


# Types


def type_of(schema: Schema) -> str:
    """In words, as far as a person wants to know."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](shapes.md#{name.lower()})"
    if "anyOf" in schema:
        return _alternatives([{**each, "type": each.get("type", schema.get("type"))} for each in schema["anyOf"]])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"]) + _default(schema)
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "array":
            return f"list of {type_of(schema['items'])}"
        case "object" if "properties" in schema:
            return "object with " + ", ".join(f"`{name}`" for name in schema["properties"])
        case "object":
            return (
                f"object of {type_of(schema['additionalProperties'])}" if "additionalProperties" in schema else "object"
            )
        case "string":
            return _string(schema) + _default(schema)
        case "integer":
            return "whole number" + _bounds(schema) + _default(schema)
        case None:
            return "anything"
        case other:
            return str(other)


def _alternatives(schemas: list[Schema]) -> str:
    words = list(dict.fromkeys(type_of(each) for each in schemas))
    if "decimal" in words and "number" in words:
        words.remove("number")
    return " or ".join(_without_repeating(words))


def _without_repeating(words: Iterable[str]) -> list[str]:
    """A whole number may also be written as text: that goes without saying."""
    found = list(words)
    return [each for each in found if each != "text" or not any(word.startswith("whole number") for word in found)]


def _string(schema: Schema) -> str:
    pattern = schema.get("pattern", "")
    words = re.sub(r"\[(\w)(\w)\]", lambda pair: pair[1] if pair[1].lower() == pair[2].lower() else pair[0], pattern)
    if re.fullmatch(r"\^\(?[\w|]+\)?\$", words):
        return ", ".join(f"`{each}`" for each in words.strip("^()$").split("|"))
    if "[Tt]" in pattern or "T[0-9]" in pattern:
        return "time"
    if r"(\." in pattern:
        return "decimal"
    if name := re.fullmatch(r"\^\[A-Za-z0-9_-\]\{1,(\d+)\}\$", pattern):
        return f"name of up to {name[1]} letters, digits, `-`, `_`"
    return "text"


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None or high is None or high > 10**9:
        return ""
    return f", {low:,} to {high:,}"


def _default(schema: Schema) -> str:
    return f"; left out: `{schema['default']}`" if schema.get("default") is not None else ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.rest_reference", description="Makes rest.md and shapes.md.")
    parser.add_argument("--write", action="store_true", help="write them, instead of showing them")
    write = parser.parse_args().write
    for path, text in pages().items():
        if write:
            path.write_text(text)
        else:
            print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
