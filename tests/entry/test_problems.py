"""The table of codes is complete, and every problem is valid RFC 9457."""

import json

from contracts.messages import OrderStatus, RejectReason
from entry.problems import CODES, Problem, quoted


def test_every_reason_of_the_engine_has_a_code() -> None:
    assert {reason.value for reason in RejectReason} <= set(CODES)


def test_codes_say_something() -> None:
    for name, code in CODES.items():
        assert 400 <= code.status < 600, name
        assert code.title
        assert code.meaning.endswith("."), name


def test_what_does_not_apply_is_absent() -> None:
    assert json.loads(Problem(code="off_tick", detail="No.").content) == {
        "type": "/docs/errors#off_tick",
        "title": "Price off tick",
        "status": 422,
        "detail": "No.",
        "code": "off_tick",
    }


def test_a_problem_with_everything() -> None:
    problem = Problem(
        code="order_not_resting",
        detail="No.",
        field="order_id",
        status=410,
        order_id=7,
        order_status=OrderStatus.FILLED,
        sequence=9,
    )
    found = json.loads(problem.content)
    assert found["status"] == problem.http_status == 410
    assert (found["field"], found["order_id"], found["order_status"], found["sequence"]) == ("order_id", 7, "filled", 9)


def test_quoted_text_is_short_and_plain_whatever_it_was() -> None:
    assert quoted("a\ud800\x00é") == '"a\\ud800\\u0000\\u00e9"'
    assert len(quoted("x" * 10_000)) < 60
