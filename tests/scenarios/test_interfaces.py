"""A scenario comes out the same through REST, WebSocket and NATS as it does from the engine alone.

Goal: no interface has rules of its own. Method: each story of tests/matcher/stories that a client could act out is
told to an engine in this process and, for a symbol and accounts of its own, to a running exchange through one
interface; after every command the answers are compared (status, reason, quantities, trades, whom it met, or the code
of the refusal), and at the end the depth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.messages import (
    AllOrNothing,
    Command,
    DefineInstrument,
    Event,
    OrderAccepted,
    OrdersCanceled,
    Outcome,
    Refusal,
    Repeated,
    TradeExecuted,
)
from contracts.orders import item_events, order_after
from matcher.engine import Engine
from tests.matcher.story import START, Story, read_stories
from tests.matcher.story_commands import parse
from tests.scenarios.interfaces import Body, Interface, Names, interface, request_of
from tests.support.servers import wait_until
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

FILES = {
    "all_or_nothing": 8,
    "amend": 8,
    "cancel": 8,
    "cancel_replace": 4,
    "client_order_ids": 4,
    "iceberg": 10,
    "idempotency": 4,
    "market": 6,
    "mass_cancel": 4,
    "matching": 8,
    "notional": 8,
    "post_only": 4,
    "protection": 4,
    "self_trade": 10,
    "stop": 10,
    "stop_cascade": 8,
    "time_in_force": 6,
}
"""How many stories of each file are acted out: enough for every rule that an interface could get wrong."""
STAGE = {"set", "clock", "continue", "list", "status", "limits", "kill-switch"}
"""What a client cannot say, or not for itself alone."""
LOOKS = {"book", "stops", "position", "orders"}
_CODES = {"order_not_resting": "unknown_order"}
"""What the engine has forgotten, the edge looks up in the history."""


def can_be_acted_out(story: Story) -> bool:
    """By one client in one symbol: nothing that sets the stage, and nothing that the edge reads otherwise."""
    for words in (line[2:].split() for line in story.lines if line.startswith("> ")):
        if words[0] in STAGE or {"until", "after", "DAY", "type"} & set(words):
            return False
        if words[0] == "all" and "0" in words:  # the edge judges the shape of every item before the engine sees one
            return False
        if words[:2] == ["cancel", "all"] and "of" not in words:
            return False
        if "of" in words and (words[:2] != ["cancel", "all"] or "," in words[words.index("of") + 1]):
            return False
        if "on" in words and words[words.index("on") + 1] != "X":
            return False
    return True


def chosen() -> Iterator[Story]:
    stories = list(read_stories(Path(__file__).parents[1] / "matcher" / "stories"))
    for file, count in FILES.items():
        yield from [story for story in stories if story.file == file and can_be_acted_out(story)][:count]


STORIES = list(chosen())


def test_enough_is_acted_out() -> None:
    assert {story.file for story in STORIES} == set(FILES)
    assert len(STORIES) >= 80


@pytest.mark.parametrize("name", ["REST", "WebSocket", "NATS"])
def test_a_story_comes_out_the_same(stack: Stack, name: str) -> None:
    with httpx.Client(base_url=stack.http, trust_env=False) as rest, interface(name, stack) as told:
        for number, story in enumerate(STORIES):
            act_out(story, told, rest, f"{name}-{number}")


def act_out(story: Story, told: Interface, rest: httpx.Client, symbol: str) -> None:
    sizes = {"tick_size": "1", "lot_size": "1", "min_quantity": "1", "max_quantity": "1000"}
    assert rest.put(f"/instruments/{symbol}", json=sizes).status_code == 201
    engine, names, firsts = Engine(), Names({}, symbol, {}), {0: Outcome(())}
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), START)
    sequence = 0
    for line in story.lines:
        words = line[2:].split()
        if not line.startswith("> ") or words[0] in LOOKS:
            continue
        command = parse(words)
        sequence += 1
        result = engine.apply(command, START, sequence)
        if isinstance(result, Repeated):
            result = firsts[result.sequence]
        assert not isinstance(result, Repeated)
        firsts[sequence] = result if isinstance(result, Outcome) else firsts[0]
        answer = told.send(*request_of(command, names))
        where = f"{story.file}: {story.title}\n{line}\n{answer}"
        learn_ids(result, answer, names)
        assert seen(answer) == expected(command, result, names), where
    bids, asks = ([[str(price), str(quantity)] for price, quantity in levels] for levels in engine.depth("X"))
    # What was answered over WebSocket or NATS, this gateway need not have heard of yet.
    same = wait_until(lambda: shown(rest, symbol, bids, asks), 10)
    assert same, (story.title, rest.get(f"/market/{symbol}/depth").json())


def shown(rest: httpx.Client, symbol: str, bids: list[list[str]], asks: list[list[str]]) -> bool:
    depth = rest.get(f"/market/{symbol}/depth", params={"levels": 1000}).json()
    return bool(depth["bids"] == bids and depth["asks"] == asks)


def learn_ids(result: Outcome | Refusal, answer: Body, names: Names) -> None:
    """The story's order ids, and what they are on the exchange."""
    if isinstance(result, Refusal):
        return
    views = [item.get("order", {}) for item in answer.get("items", [])] or [answer]
    views = [view for view in views if "order_id" in view]
    placed = [event.order_id for event in result.events if isinstance(event, OrderAccepted)]
    accepted = [view["order_id"] for view in views if view["order_id"] not in names.order_ids.values()]
    names.order_ids |= dict(zip(placed, sorted(accepted), strict=False))


# What came of a command, in the same words from both sides


def expected(command: Command, result: Outcome | Refusal, names: Names) -> Any:
    if isinstance(result, Refusal):
        return result.reason.value, result.item
    if isinstance(result.events[0], OrdersCanceled):
        return result.events[0].count
    if isinstance(command, AllOrNothing):
        return [
            after(item, events, names) if (events := item_events(number, result.events)) else "order_not_resting"
            for number, item in enumerate(command.items)
        ]
    return after(command, result.events, names)


def after(command: Command, events: Any, names: Names) -> Any:
    order, status, reason = order_after(command, events, START)
    order_id = order.order_id
    return {
        "order_id": names.order_id(order_id),
        "status": status.value,
        "reason": reason and reason.value,
        "price": None if order.price is None else str(order.price),
        "quantity": str(order.quantity),
        "filled_quantity": str(order.filled_quantity),
        "triggered": order.triggered,
        "trades": [trade(event, names) for event in events if is_of(event, order_id)],
    }


def is_of(event: Event, order_id: int) -> bool:
    return isinstance(event, TradeExecuted) and order_id in (event.maker_order_id, event.taker_order_id)


def trade(event: Event, names: Names) -> Any:
    assert isinstance(event, TradeExecuted)
    makers_and_taker = names.order_id(event.maker_order_id), names.order_id(event.taker_order_id)
    return str(event.price), str(event.quantity), event.taker_side.value, *makers_and_taker


def seen(answer: Body) -> Any:
    if "code" in answer:
        return _CODES.get(answer["code"], answer["code"]), answer.get("item")
    if "canceled" in answer:
        return answer["canceled"]
    if "items" in answer:
        return [seen_order(item["order"]) if "order" in item else item["problem"]["code"] for item in answer["items"]]
    return seen_order(answer)


def seen_order(order: Body) -> Any:
    fields = ("order_id", "status", "reason", "price", "quantity", "filled_quantity", "triggered")
    return {name: order[name] for name in fields} | {
        "trades": [
            (each["price"], each["quantity"], each["taker_side"], each["maker_order_id"], each["taker_order_id"])
            for each in order["trades"]
        ]
    }
