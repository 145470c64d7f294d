"""The language of the stories: what is sent, and what comes out, in words.

    == A title; each story starts with an empty engine that lists X (1 to 1000 lots)
    # why it is told
    > buy 5 @ 100 IOC on X by anna as my-id     also: market, FOK, GTC, post-only; "@ price" left out is no price
    > cancel 1
    > amend 1 price 101 quantity 7
    > list X tick 0.01 lot 1 min 1 max 1000
    > set max_fills 2                           makes one of the engine's limits small
    > book                                      draws X, or "book Y"; an order in it reads "quantity (#id)"

What follows a command is its outcome: the events, then each touched level with its new total; or the refusal. In a
book the first order to trade is the leftmost.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.messages import (
    AmendOrder,
    CancelOrder,
    Command,
    DefineInstrument,
    Event,
    InstrumentDefined,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderState,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    Result,
    Side,
    TimeInForce,
    TradeExecuted,
)

START = 1_700_000_000_000_000


class AnyEngine(Protocol):
    def apply(self, command: Command, time: int) -> Result: ...
    def resting(self, symbol: str) -> list[tuple[Side, int, int, int]]: ...


@dataclass(frozen=True)
class Story:
    file: str
    title: str
    lines: list[str]

    @property
    def settings(self) -> dict[str, int]:
        words = [line.split() for line in self.lines if line.startswith("> set ")]
        return {name: int(value) for _, _, name, value in words}


def read_stories(folder: Path) -> Iterator[Story]:
    for path in sorted(folder.glob("*.txt")):
        for part in re.split(r"^== ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, *lines = part.rstrip().splitlines()
            yield Story(path.stem, title, lines)


def play(story: Story, engine: AnyEngine) -> Iterator[str]:
    """The story with what this engine makes of it."""
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), START)
    time = START
    for line in story.lines:
        if not line.startswith("> "):
            if not line.startswith("  "):
                yield line
            continue
        yield line
        time += 1
        yield from (f"  {said}".rstrip() for said in obey(line[2:], engine, time))


def obey(line: str, engine: AnyEngine, time: int) -> Iterator[str]:
    words = shlex.split(line)
    if words[0] == "book":
        yield from draw(engine.resting(words[1] if len(words) > 1 else "X"))
    elif words[0] != "set":
        yield from tell(engine.apply(parse(words), time))


# From words to commands


def parse(words: list[str]) -> Command:
    match words:
        case ["cancel", order_id]:
            return CancelOrder(int(order_id))
        case ["amend", order_id, *terms]:
            return AmendOrder(int(order_id), **{name: int(value) for name, value in pairs(terms)})
        case ["list", symbol, "tick", tick, "lot", lot, "min", smallest, "max", largest]:
            return DefineInstrument(symbol, tick, lot, int(smallest), int(largest))
        case ["buy" | "sell" as side, quantity, *terms]:
            return parse_place(Side(side), int(quantity), terms)
    raise ValueError(f"no such command: {words}")


def pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def parse_place(side: Side, quantity: int, terms: list[str]) -> PlaceOrder:
    order_type = OrderType.MARKET if "market" in terms else OrderType.LIMIT
    time_in_force = next((TimeInForce(term) for term in terms if term in TimeInForce.__members__), TimeInForce.GTC)
    alone = {"market", "post-only", *TimeInForce.__members__}
    named = dict(pairs([term for term in terms if term not in alone]))
    return PlaceOrder(
        symbol=named.get("on", "X"),
        side=side,
        type=order_type,
        quantity=quantity,
        price=int(named["@"]) if "@" in named else None,
        time_in_force=time_in_force,
        post_only="post-only" in terms,
        account=named.get("by", "default"),
        client_order_id=named.get("as"),
    )


# From results to words


def tell(result: Result) -> Iterator[str]:
    if isinstance(result, Refusal):
        field = f" ({result.field})" if result.field else ""
        order = f", order #{result.order_id}" if result.order_id else ""
        yield f"refused: {result.reason.value}{field}{order}"
        return
    for event in result.events:
        yield tell_event(event)
    yield from tell_levels(result)


def tell_event(event: Event) -> str:
    match event:
        case OrderAccepted(order_id):
            return f"accepted #{order_id}"
        case TradeExecuted():
            return (
                f"trade {event.trade_id}: {event.quantity} @ {event.price}{on(event.symbol)}, "
                f"maker #{event.maker_order_id}, taker #{event.taker_order_id} ({event.taker_side.value})"
            )
        case OrderCanceled(order, reason):
            return f"canceled #{order.order_id} ({reason.value}): {describe(order)}"
        case OrderAmended(order, priority_kept):
            return f"amended #{order.order_id}, {'keeps its place' if priority_kept else 'moves'}: {describe(order)}"
        case InstrumentDefined(symbol):
            return f"listed {symbol}"


def tell_levels(outcome: Outcome) -> Iterator[str]:
    for level in outcome.levels:
        half = "bid" if level.side is Side.BUY else "ask"
        yield f"{half} {level.price}{on(level.symbol)} now {level.quantity}"


def describe(order: OrderState) -> str:
    terms = [order.side.value, str(order.quantity)]
    terms += [f"@ {order.price}"] if order.price is not None else []
    terms += ["market"] if order.type is OrderType.MARKET else []
    terms += [order.time_in_force.value] if order.time_in_force is not TimeInForce.GTC else []
    terms += ["post-only"] if order.post_only else []
    terms += [f"by {order.account}"] if order.account != "default" else []
    terms += [f"as {order.client_order_id}"] if order.client_order_id is not None else []
    fills = f", {order.filled_quantity} filled for {order.filled_notional}" if order.filled_quantity else ", unfilled"
    return " ".join(terms) + on(order.symbol) + fills


def on(symbol: str) -> str:
    return "" if symbol == "X" else f" on {symbol}"


def draw(resting: list[tuple[Side, int, int, int]]) -> Iterator[str]:
    if not resting:
        yield "empty"
        return
    orders: dict[int, list[str]] = {}
    for _, price, order_id, remaining in resting:
        orders.setdefault(price, []).append(f"{remaining} (#{order_id})")
    bids = {price for side, price, _, _ in resting if side is Side.BUY}
    rows = [(price, price in bids, ", ".join(orders[price])) for price in sorted(orders, reverse=True)]
    width = max([3, *(len(queue) for _, is_bid, queue in rows if is_bid)])
    yield f"{'bid':>{width}} | {'price':>5} | ask"
    for price, is_bid, queue in rows:
        yield f"{queue if is_bid else '':>{width}} | {price:>5} | {'' if is_bid else queue}"
