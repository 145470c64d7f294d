"""Request bodies as fields: one JSON object, every number still the literal that the client wrote.

The standard library's decoder is used for three things that faster ones do not give: the literal of a number, so that
no price passes through a float; duplicate names, which are refused; and the position of a mistake
(docs/decisions/0005).
"""

import json
from collections.abc import Collection
from typing import Any

from entry.problems import Declined, declined, quoted


class Number(str):
    """A JSON number as written."""

    __slots__ = ()


Fields = dict[str, Any]
"""Values are str, Number, bool, list or dict; a field that is null is not there."""
Body = bytes | dict[str, Any]
"""As it came, or an object within it that was decoded here already."""

_JSON_TYPES = {str: "a string", Number: "a number", bool: "true or false", list: "an array", dict: "an object"}


class _Duplicate(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Duplicate(next(name for name in names if names.count(name) > 1))
    return fields


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_not_json
).decode


def read_fields(body: Body, known: Collection[str]) -> Fields:
    """The fields of the object in `body`. Raises Declined if it is none, or a field is there twice or unknown."""
    return fields_of(_decoded(body) if isinstance(body, bytes) else body, known, "The body")


def read_object(body: bytes) -> dict[str, Any]:
    """The object in `body` with whatever fields it has, null or not. Raises Declined if it is none."""
    return _object(_decoded(body), "The body")


def fields_of(decoded: object, known: Collection[str], what: str) -> Fields:
    """The fields of an object within a body. Raises Declined if it is none or has others than the known ones."""
    fields = _object(decoded, what)
    for name in fields:
        if name not in known:
            raise declined(
                "unknown_field",
                f"There is no field {quoted(name)} here. Known: {', '.join(known)}.",
                quoted(name)[1:-1],
            )
    return {name: value for name, value in fields.items() if value is not None}


def _object(decoded: object, what: str) -> dict[str, Any]:
    if type(decoded) is dict:
        return decoded
    raise declined("invalid_type", f"{what} must be a JSON object; this is {json_type(decoded)}.")


def _decoded(body: bytes) -> object:
    try:
        return _decode(body.decode())
    except _Duplicate as error:
        name = quoted(str(error))
        raise declined("duplicate_field", f"The field {name} is there twice; send it once.", name[1:-1]) from None
    except UnicodeDecodeError as error:
        raise declined("malformed_json", f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    except RecursionError:
        raise declined("malformed_json", "The body is nested far too deeply; no request needs nesting.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise declined("malformed_json", f"The body is not JSON: {error.msg} at {where}.") from None
    except ValueError as error:
        raise declined("malformed_json", f"The body is not JSON: {error}.") from None


def json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")


def wrong_type(name: str, value: object, wanted: str) -> Declined:
    return declined("invalid_type", f"{name} must be {wanted}, not {json_type(value)}.", name)


def missing(name: str, hint: str) -> Declined:
    return declined("missing_field", f"{name} is required: {hint}.", name)


def text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if value is None or type(value) is str:
        return value
    raise wrong_type(name, value, "a string")


def flag(fields: Fields, name: str) -> bool:
    value = fields.get(name, False)
    if type(value) is bool:
        return value
    raise wrong_type(name, value, "true or false")


def literal(fields: Fields, name: str) -> str | None:
    """A decimal as the client wrote it, from a string or a number."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(name, value, 'a decimal number, as a string ("100.10") or a number')
