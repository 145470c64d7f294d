"""The pages that are made from the code are those that it makes now."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from entry.problems import CODES
from gateway.openapi import document
from runtime.settings import Settings
from tools import reference, rest_reference
from tools.rest_reference import type_of

PAGES = {**reference.pages(), **rest_reference.pages()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_up_to_date(page: Path) -> None:
    assert page.read_text() == PAGES[page], "run `make reference`"


def test_every_code_and_every_setting_is_there() -> None:
    errors, settings = reference.errors_page(), reference.settings_page()
    assert all(f"| `{code}` |" in errors for code in CODES)
    assert all(f"| `PRICETIME_{name.upper()}` |" in settings for name in Settings.__struct_fields__)


def test_every_shape_that_is_named_is_there() -> None:
    described = document("")
    shapes = rest_reference.shapes_page(described)
    for name in described["components"]["schemas"]:
        assert f"## {name}\n" in shapes


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/components/schemas/Order"}, "[Order](shapes.md#order)"),
        ({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}, "decimal"),
        ({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}]}, "decimal"),
        ({"type": "string", "pattern": "^([gG][tT][cC]|[iI][oO][cC])$"}, "`gtc`, `ioc`"),
        ({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,24}$"}, "name of up to 24 letters, digits, `-`, `_`"),
        (
            {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            "whole number, 1 to 1,000; left out: `100`",
        ),
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "whole number"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "whole number"),
        ({"type": "array", "items": {"$ref": "#/x/Trade"}}, "list of [Trade](shapes.md#trade)"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "`a`, `b` or null"),
        ({}, "anything"),
    ],
)
def test_a_type_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_of(schema) == words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "`true` or `false`"),
        (str | None, "text"),
        (Literal["auto", "always"], "`auto`, `always`"),
        (Annotated[int, msgspec.Meta(ge=1, le=5)], "whole number from 1 to 5"),
        (Annotated[float, msgspec.Meta(gt=0)], "number above 0"),
    ],
)
def test_a_setting_in_words(kind: Any, words: str) -> None:
    assert reference.type_of(kind) == words


@pytest.mark.parametrize("main", [reference.main, rest_reference.main])
def test_it_is_shown_or_written(
    main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["it"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("# ")
    monkeypatch.setattr("sys.argv", ["it", "--write"])
    for module in (reference, rest_reference):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert main() == 0
    assert len(list(tmp_path.glob("*.md"))) == 2
