"""Conversations, held by hand: what is repeated, for how long, and what is said when nothing helps."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pricetime_client.asking import Answer, Came, Conversation, Lost, Pause, Request, Step, definite, problem_of, read
from pricetime_client.calls import Calls
from pricetime_client.errors import NoAnswer, Refusal
from pricetime_client.views import Order

PLACE = Request(method="POST", target="/orders", body=b"{}", client_order_id="mine")
READ = Request(method="GET", target="/orders")
PATIENCE = 10.0


class Talk:
    """Holds a conversation with a script of answers, on a clock of its own."""

    def __init__(self, script: Sequence[Came], seconds_each: float = 0.0) -> None:
        self.asked: list[Request] = []
        self.pauses: list[float] = []
        self._script = list(script)
        self._seconds_each = seconds_each
        self._now = 100.0

    def hold(self, conversation: Conversation[Any]) -> Any:
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                return end.value
            came = self._do(step)

    def _do(self, step: Step) -> Came:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self._now += step.seconds
            return None
        self.asked.append(step)
        began, self._now = self._now, self._now + self._seconds_each
        came = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        assert isinstance(came, Answer | Lost)
        return type(came)(
            **{**{name: getattr(came, name) for name in came.__struct_fields__}, "began": began, "ended": self._now}
        )


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(began=0, ended=0, status=status, headers=named, body=json.dumps(body or {}).encode())


def problem(status: int, code: str, **more: Any) -> Answer:
    return answer(status, {"status": status, "code": code, "detail": "Because.", **more.pop("fields", {})}, **more)


def lost(*, was_sent: bool = True) -> Lost:
    return Lost(began=0, ended=0, why="reset by peer", was_sent=was_sent)


OVERLOADED = problem(503, "overloaded")
UNKNOWN = problem(504, "result_unknown")


@pytest.mark.parametrize(
    "first", [lost(), lost(was_sent=False), OVERLOADED, UNKNOWN, problem(429, "rate_limited"), answer(502)]
)
def test_the_same_request_is_sent_until_there_is_an_answer(first: Answer | Lost) -> None:
    talk = Talk([first, first, answer(201)])
    assert talk.hold(definite(PLACE, PATIENCE)).answer.status == 201
    assert talk.asked == [PLACE] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_no_is_an_answer(status: int) -> None:
    talk = Talk([problem(status, "some_reason")])
    with pytest.raises(Refusal) as refused:
        read(talk.hold(definite(PLACE, PATIENCE)).answer, Order)
    assert (refused.value.code, refused.value.status, refused.value.detail) == ("some_reason", status, "Because.")
    assert str(refused.value) == "some_reason: Because."
    assert len(talk.asked) == 1


def test_what_was_signed_before_the_gateway_started_is_signed_again_once() -> None:
    too_soon = problem(401, "timestamp_outside_window")
    talk = Talk([too_soon, answer(201)])
    assert talk.hold(definite(PLACE, PATIENCE)).answer.status == 201
    talk = Talk([too_soon])
    assert talk.hold(definite(PLACE, PATIENCE)).answer.status == 401
    assert len(talk.asked) == 2


def test_it_comes_back_when_it_was_told_to() -> None:
    talk = Talk([problem(503, "overloaded", Retry_After="4"), answer(201)])
    talk.hold(definite(PLACE, PATIENCE))
    assert talk.pauses == [4.0]


def test_pauses_grow_and_end_at_a_second() -> None:
    talk = Talk([*[lost()] * 8, answer(201)])
    talk.hold(definite(PLACE, PATIENCE))
    assert talk.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_patience_ends() -> None:
    talk = Talk([lost()], seconds_each=3.0)
    with pytest.raises(NoAnswer):
        talk.hold(definite(PLACE, PATIENCE))
    assert len(talk.asked) == 4


def test_without_patience_it_is_asked_once() -> None:
    talk = Talk([OVERLOADED])
    with pytest.raises(Refusal):
        talk.hold(definite(PLACE, 0.0))
    assert len(talk.asked) == 1


def test_what_can_never_be_answered_is_given_up_at_once() -> None:
    talk = Talk([lost(), Lost(began=0, ended=0, why="it is closed", was_sent=False, is_final=True)])
    with pytest.raises(NoAnswer, match=r"which may have been carried out \(it is closed\)") as ended:
        talk.hold(definite(PLACE, PATIENCE))
    assert ended.value.unknown
    assert (len(talk.asked), len(talk.pauses)) == (2, 1)


def test_what_was_surely_not_done_is_a_refusal_in_the_end() -> None:
    with pytest.raises(Refusal) as refused:
        Talk([lost(was_sent=False), problem(503, "overloaded", Retry_After="2")]).hold(definite(PLACE, PATIENCE))
    assert (refused.value.code, refused.value.retry_after) == ("overloaded", 2.0)


@pytest.mark.parametrize("first", [lost(), UNKNOWN, answer(502), answer(500), problem(503, "journal_unavailable")])
def test_one_attempt_that_may_have_done_it_makes_all_of_it_unknown(first: Answer | Lost) -> None:
    with pytest.raises(NoAnswer, match="may have been carried out") as ended:
        Talk([first, OVERLOADED]).hold(definite(PLACE, PATIENCE))
    assert ended.value.unknown
    assert ended.value.client_order_id == "mine"


def test_what_never_left_is_not_unknown() -> None:
    with pytest.raises(NoAnswer, match="does not answer") as ended:
        Talk([lost(was_sent=False)]).hold(definite(PLACE, PATIENCE))
    assert not ended.value.unknown


def test_a_read_is_never_unknown() -> None:
    with pytest.raises(NoAnswer) as ended:
        Talk([lost()]).hold(definite(READ, PATIENCE))
    assert not ended.value.unknown
    with pytest.raises(Refusal, match="history_unavailable"):
        Talk([lost(), problem(503, "history_unavailable")]).hold(definite(READ, PATIENCE))


def test_an_answer_of_something_between_is_a_problem_too() -> None:
    found = problem_of(502, b"<html>\n bad   gateway</html>")
    assert (found.code, found.detail, found.status) == ("http_502", "<html> bad gateway</html>", 502)


# Canceling


ORDER = {
    "order_id": 7, "client_order_id": "mine", "account": "anna", "symbol": "A", "side": "buy", "type": "limit",
    "time_in_force": "GTC", "post_only": False, "price": "1.00", "quantity": "2", "filled_quantity": "0",
    "remaining_quantity": "0", "average_price": None, "status": "canceled", "reason": "requested",
    "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "sequence": 3,
}  # fmt: skip
GONE = problem(409, "order_not_resting", fields={"order_id": 7, "order_status": "canceled"})
FILLED = problem(409, "order_not_resting", fields={"order_id": 7, "order_status": "filled"})


def calls(account: str | None = None) -> Calls:
    return Calls(account, PATIENCE)


def test_a_cancelation_whose_answer_was_lost_is_no_refusal() -> None:
    talk = Talk([lost(), GONE, answer(200, ORDER)])
    assert talk.hold(calls().cancel("mine", None)).status == "canceled"
    assert [(each.method, each.target) for each in talk.asked] == [
        ("DELETE", "/orders/by-client-id/mine"),
        ("DELETE", "/orders/by-client-id/mine"),
        ("GET", "/orders/7"),
    ]


@pytest.mark.parametrize("script", [[GONE], [OVERLOADED, GONE], [lost(was_sent=False), GONE], [lost(), FILLED]])
def test_an_order_that_was_gone_before_is_a_refusal(script: list[Came]) -> None:
    with pytest.raises(Refusal, match="order_not_resting"):
        Talk([*script, answer(200, ORDER)]).hold(calls().cancel(7, None))


# Names, accounts, lists


def test_every_order_has_a_name_to_be_known_by() -> None:
    talk = Talk([answer(201, {**ORDER, "canceled": ORDER, "placed": ORDER})])
    talk.hold(calls().place({"side": "buy", "client_order_id": None}, "made-up"))
    talk.hold(calls().place({"side": "buy", "client_order_id": "given"}, "made-up"))
    talk.hold(calls().replace(7, {"side": "buy"}, "made-up"))
    assert [each.client_order_id for each in talk.asked] == ["made-up", "given", "made-up"]
    assert [json.loads(each.body)["client_order_id"] for each in talk.asked] == ["made-up", "given", "made-up"]


def test_the_orders_of_a_batch_have_names_too() -> None:
    talk = Talk([answer(200, {"items": [], "sequence": 1})])
    items: list[Any] = [{"place": {"side": "buy"}}, {"cancel": {"order_id": 1}}]
    talk.hold(calls("anna").batch(items, ["one", "two"], all_or_nothing=True))
    assert json.loads(talk.asked[0].body) == {
        "items": [{"place": {"client_order_id": "one", "account": "anna", "side": "buy"}}, items[1]],
        "all_or_nothing": True,
    }


def test_a_client_may_be_for_one_account() -> None:
    talk = Talk([answer(200, {**ORDER, "canceled": 1, "items": []})])
    mine = calls("anna")
    for order in ({"side": "buy"}, {"side": "buy", "account": "ben"}):
        talk.hold(mine.place(order, "n"))
    assert [json.loads(each.body)["account"] for each in talk.asked] == ["anna", "ben"]
    talk.asked.clear()
    conversations: list[Conversation[Any]] = [
        mine.cancel("x", None),
        mine.cancel("x", "ben"),
        mine.cancel(7, None),
        mine.cancel_all({"symbol": "A"}),
        mine.orders({}, 1),
        mine.trades({}, 1),
    ]
    for conversation in conversations:
        talk.hold(conversation)
    assert [each.target for each in talk.asked] == [
        "/orders/by-client-id/x?account=anna",
        "/orders/by-client-id/x?account=ben",
        "/orders/7",
        "/orders?account=anna&symbol=A",
        "/orders?account=anna&limit=1",
        "/trades?limit=1",
    ]


def test_a_list_is_read_page_after_page_up_to_the_limit() -> None:
    pages = [
        answer(200, {"items": [ORDER] * size, "next_cursor": cursor}) for size, cursor in ((1000, "x"), (500, "y"))
    ]
    talk = Talk(pages)
    assert len(talk.hold(calls().orders({}, 1500))) == 1500
    assert [each.target for each in talk.asked] == ["/orders?limit=1000", "/orders?limit=500&cursor=x"]


def test_a_list_without_a_limit_is_read_to_its_end() -> None:
    pages = [answer(200, {"items": [ORDER], "next_cursor": cursor}) for cursor in ("x", None)]
    assert len(Talk(pages).hold(calls().orders({}, None))) == 2


def trade(sequence: int) -> dict[str, Any]:
    return {
        "trade_id": sequence, "symbol": "A", "price": "1", "quantity": "1", "taker_side": "buy", "maker_order_id": 1,
        "taker_order_id": 2, "executed_at": "2026-01-01T00:00:00Z", "sequence": sequence,
    }  # fmt: skip


def test_trades_that_were_missed_come_in_order_and_once() -> None:
    pages = [
        answer(200, {"items": [trade(9), trade(8)], "next_cursor": "x"}),
        answer(200, {"items": [trade(6), trade(5), trade(4)], "next_cursor": "y"}),
    ]
    talk = Talk(pages)
    assert [each.sequence for each in talk.hold(calls().trades_after("A", 5))] == [6, 8, 9]
    assert len(talk.asked) == 2


def test_the_status_is_asked_once_and_told_as_it_is() -> None:
    body = {"status": "not_ready", "checks": {"nats": {"ok": False, "detail": "not connected"}}}
    found = Talk([answer(503, body)]).hold(calls().status())
    assert not found.is_ready
    assert found.checks["nats"].detail == "not connected"
    with pytest.raises(NoAnswer, match="reset by peer"):
        Talk([lost()]).hold(calls().status())


def test_what_answers_may_be_no_exchange() -> None:
    talk = Talk([Answer(began=0, ended=0, status=200, headers={}, body=b"<html>Welcome</html>")])
    with pytest.raises(NoAnswer, match="not one of an exchange"):
        talk.hold(calls().ticker("A"))


def test_an_exchange_that_does_not_tell_its_addresses_has_none_to_tell() -> None:
    assert Talk([answer(404)]).hold(calls().config()).ws_url == ""
