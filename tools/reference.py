"""docs/reference/errors.md and docs/reference/settings.md, made from the tables that the services themselves use.

python -m tools.reference --write     after a change of either; a test holds that the pages are up to date
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from entry.problems import CODES
from entry.stream_codes import STREAM_CODES
from runtime.settings import PREFIX, Settings

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

_ERRORS_HEAD = """\
# Error codes

Every refusal is `application/problem+json` (RFC 9457), over REST and NATS as over WebSocket: `code` is one of these
and never changes its meaning, `detail` says what to do, `field` names what it is about. A running exchange has the same
table at [/docs/errors](http://localhost:8000/docs/errors). Made from [entry/problems.py](../../entry/problems.py), by
`python -m tools.reference --write`.

- **Nothing refused changes anything.** The one that is no refusal is `result_unknown`: the command may have been
  carried out. Send it again with the same `client_order_id`.
- **503 and 429** come with `Retry-After`: nothing was done, come again.
- When each rule of trading applies: [every refusal](../semantics.md#every-refusal).

"""
_STATUSES = {
    400: "the request does not have the shape that is described",
    401: "who is asking?",
    403: "this key, or this page, may not",
    404: "there is no such thing",
    405: "not this method",
    409: "something else is there already",
    410: "no longer at hand",
    413: "too large",
    415: "not this type",
    416: "not yet there",
    421: "not this host",
    422: "a rule of the exchange refuses it",
    429: "too much of it",
    500: "our mistake",
    503: "not now",
    504: "not known",
}
_SETTINGS_HEAD = """\
# Settings in short

Each is an environment variable of the services, and of `pricetime up`, which passes them on. Made from
[runtime/settings.py](../../runtime/settings.py), by `python -m tools.reference --write`; what each one is for, and why,
is in [settings](../settings.md).

"""


def pages() -> dict[Path, str]:
    return {FOLDER / "errors.md": errors_page(), FOLDER / "settings.md": settings_page()}


# Errors


def errors_page() -> str:
    return _ERRORS_HEAD + "\n".join(_error_tables()).rstrip() + "\n"


def _error_tables() -> Iterator[str]:
    known = {**CODES, **STREAM_CODES}
    for status in sorted({code.status for code in known.values()}):
        yield f"## {status}: {_STATUSES[status]}"
        yield "| code | means | |"
        yield "|---|---|---|"
        for name in sorted(name for name, code in known.items() if code.status == status):
            where = "WebSocket only" if name in STREAM_CODES else ""
            yield f"| `{name}` | {known[name].meaning} | {where} |"
        yield ""


# Settings


def settings_page() -> str:
    rows = ["| variable | type | default |", "|---|---|---|"]
    defaults = dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))
    for name, kind in Settings.__annotations__.items():
        default = "none" if defaults[name] in (None, "") else f"`{defaults[name]}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {type_of(kind)} | {default} |")
    return _SETTINGS_HEAD + "\n".join(rows) + "\n"


def type_of(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        plain, *limits = get_args(kind)
        bounds = [f"{word} {value:,}" for meta in limits for word, value in _bounds(meta) if value is not None]
        return " ".join([type_of(plain), *bounds])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(kind))
    if args := [each for each in get_args(kind) if each is not type(None)]:
        return type_of(args[0])
    return {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}[kind]


def _bounds(meta: Any) -> Iterator[tuple[str, Any]]:
    yield "from", meta.ge
    yield "above", meta.gt
    yield "to", meta.le
    yield "below", meta.lt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description="Makes errors.md and settings.md.")
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
