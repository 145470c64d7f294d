"""The dashboard by Grafana's own word: its Foundation SDK has the schema that Grafana reads dashboards by, as classes.

Grafana itself says nothing of a field or a value that it does not know. It passes over it, and the panel looks
otherwise than was meant.
"""

import json
import typing
import warnings
from collections.abc import Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

from tests.observe.test_rules import dashboard

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # a second version is for its API: no file
    from grafana_foundation_sdk.models.dashboard import Dashboard

PLAIN: dict[Any, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}


def understood(written: dict[str, Any]) -> Dashboard:
    register_default_plugins()
    return Dashboard.from_json(json.loads(json.dumps(written)))


def mistakes(written: dict[str, Any]) -> list[str]:
    found = understood(written)
    again = json.loads(JSONEncoder(sort_keys=True).encode(found))
    return [*_passed_over(written, again, ""), *_of_wrong_kind(found, Dashboard, "")]


def _passed_over(written: Any, again: Any, where: str) -> Iterator[str]:
    """What is not there any more once it was read."""
    if isinstance(written, dict):
        for key, value in written.items():
            if key not in again:
                yield f"{where}.{key} is not known"
            else:
                yield from _passed_over(value, again[key], f"{where}.{key}")
    elif isinstance(written, list):
        for number, (one, other) in enumerate(zip(written, again, strict=True)):
            yield from _passed_over(one, other, f"{where}[{number}]")
    elif written != again:
        yield f"{where} is {written!r}, and was read as {again!r}"


def _of_wrong_kind(value: Any, kind: Any, where: str) -> Iterator[str]:
    """The classes say what each field may be, and take anything."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        wrong = [list(_of_wrong_kind(value, each, where)) for each in of if (each is NoneType) == (value is None)]
        if all(wrong):
            yield from min(wrong, key=len, default=[f"{where} is {value!r}"])
    elif origin is list:
        for number, each in enumerate(value):
            yield from _of_wrong_kind(each, of[0], f"{where}[{number}]")
    elif isinstance(kind, type) and issubclass(kind, Enum):
        if value not in {each.value for each in kind}:
            yield f"{where} is {value!r}, and can be {', '.join(str(each.value) for each in kind)}"
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind is not bool):
            yield f"{where} is {value!r}, and should be {kind.__name__}"
    elif type(value).__module__.startswith("grafana_foundation_sdk."):
        if kind is not object and isinstance(kind, type) and not isinstance(value, kind):
            yield f"{where} should be {kind.__name__}"
        for name, field in typing.get_type_hints(type(value)).items():
            yield from _of_wrong_kind(getattr(value, name), field, f"{where}.{name}")


def test_grafana_knows_each_field_and_each_value() -> None:
    assert mistakes(dashboard()) == []


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("panels", 2, "options", "legnd"), {}, "options.legnd"),
        (("panels", 6, "options", "legend", "displayMode"), "lst", "display_mode"),
        (("panels", 6, "options", "tooltip", "sort"), "down", "tooltip.sort"),
        (("panels", 6, "fieldConfig", "defaults", "custom", "lineWidth"), "1", "line_width"),
        (("panels", 6, "fieldConfig", "defaults", "untt"), "s", "defaults.untt"),
        (("panels", 6, "targets", 0, "legendformat"), "x", "legendformat"),
        (("panels", 6, "gridPos", "w"), "8", "grid_pos.w"),
        (("graphTooltip",), 7, "graph_tooltip"),
    ],
)
def test_a_slip_of_the_pen_is_found(path: tuple[Any, ...], value: Any, named: str) -> None:
    """Or the test above would hold of anything."""
    written = dashboard()
    del written["panels"][7:]
    *way, last = path
    place: Any = written
    for step in way:
        place = place[step]
    place[last] = value
    found = mistakes(written)
    assert found
    assert all(named in each for each in found), found
