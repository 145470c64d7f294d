import json
import logging
import re
import sys

import pytest

from runtime import logs
from runtime.logs import JsonLines


def line_of(message: str, *arguments: object, **more: object) -> dict[str, object]:
    record = logging.getLogger("matcher.service").makeRecord(
        "matcher.service",
        logging.WARNING,
        "service.py",
        1,
        message,
        arguments,
        None,
        **more,  # type: ignore[arg-type]
    )
    found: dict[str, object] = json.loads(JsonLines("matcher").format(record))
    return found


def test_a_line_says_when_who_how_bad_and_what() -> None:
    found = line_of("commit %d waits", 7)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(found.pop("time")))
    assert isinstance(found.pop("pid"), int)
    assert found == {
        "service": "matcher",
        "level": "WARNING",
        "logger": "matcher.service",
        "message": "commit 7 waits",
    }


def test_what_it_is_about_stands_beside_it() -> None:
    found = line_of("late", extra={"journal_sequence": 7, "command_id": "c-1", "why": ValueError("no")})
    assert (found["journal_sequence"], found["command_id"], found["why"]) == (7, "c-1", "no")


def test_several_lines_are_one_and_an_exception_has_its_place() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed\nbadly", (), sys.exc_info())
    text = JsonLines("gateway").format(record)
    assert "\n" not in text
    found = json.loads(text)
    assert found["message"] == "failed\nbadly"
    assert found["exception"].endswith("ValueError: first\nsecond")


@pytest.mark.parametrize(("wanted", "begins"), [("json", '{"time":"'), ("text", "20")])
def test_the_environment_chooses(
    wanted: str, begins: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    root.handlers = []
    monkeypatch.setenv("PRICETIME_LOG_FORMAT", wanted)
    try:
        logs.set_up("gateway")
        logging.getLogger("x").info("hello")
    finally:
        root.handlers = before
        root.setLevel(level)
    printed = capfd.readouterr().err
    assert printed.startswith(begins)
    assert "hello" in printed
