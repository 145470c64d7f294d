"""Pricetime's engine as a candidate of tracebook-conformance: newline-delimited JSON in and out.

    tracebook-conformance qualify --profile fifo-full-v1 --output-dir DIR \\
        --candidate-cmd '.venv/bin/python -m tests.conformance.adapter'

The engine decides; what is translated here, and why:

- Tracebook snaps prices to the tick grid. Ours must be on it (the gateway refuses others), so they are snapped here.
- Its order ids are the client's and per symbol: they become client order ids, the symbol being the account. Whether an
  id is taken and whether an order is still there is asked of the engine. The same order again is an error there, ours
  is a repetition.
- With self-trade prevention the account is the symbol's owner, and an id is taken while its order rests, whosever it
  is; that the adapter looks up itself. Orders without an owner are never prevented.
- `reduce` says how much to take off, ours what the new total is. Taking everything off is a cancel.
- `replace` always loses its place. So does our amend, unless it only makes the order smaller: that one is canceled and
  placed anew.
- `clear` cancels every order of a symbol.

Pro-rata matching is another contract than ours and is refused at the start.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from contracts.messages import (
    MAX_QUANTITY,
    AmendOrder,
    CancelOrder,
    DefineInstrument,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    Result,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from matcher.engine import Engine

PROTOCOL = {"protocol": "tracebook.conformance", "protocol_version": 1}
ENGINE = {"name": "pricetime", "version": "0.6.0", "language": "Python"}

LOT = Decimal("0.000000001")
"""Profiles halve quantities again and again: nine decimals are enough for them, and leave room for 1,000 units."""

TERMS = {
    "LIMIT": (OrderType.LIMIT, TimeInForce.GTC),
    "MARKET": (OrderType.MARKET, TimeInForce.IOC),
    "IOC": (OrderType.LIMIT, TimeInForce.IOC),
    "FOK": (OrderType.LIMIT, TimeInForce.FOK),
}

PREVENTION = {
    "NONE": SelfTradePrevention.NONE,
    "CANCEL_RESTING": SelfTradePrevention.CANCEL_OLDEST,
    "CANCEL_INCOMING": SelfTradePrevention.CANCEL_NEWEST,
}
NO_OWNER = -1

REASONS = {
    RejectReason.DUPLICATE_CLIENT_ORDER_ID: "DUPLICATE_ORDER_ID",
    RejectReason.UNKNOWN_ORDER: "ORDER_NOT_ACTIVE",
}

Json = dict[str, Any]


class Unsupported(Exception):
    """The profile asks for a contract that is not ours."""


@dataclass
class Source:
    """The order as Tracebook knows it. `quantity` is its total in lots, fills included."""

    order_id: int
    owner: int
    quantity: int


class Candidate:
    def __init__(self, config: Json) -> None:
        if config["matching_algorithm"] != "fifo":
            raise Unsupported(f"matching is by price and time, not {config['matching_algorithm']}")
        self.prevention = PREVENTION[config["self_trade_policy"]]
        self.engine = Engine()
        self.tick = Decimal(config["tick_size"])
        self.symbols: set[str] = set()
        self.order_ids: dict[tuple[str, int], int] = {}
        self.sources: dict[int, Source] = {}
        self.trades: list[Json] = []

    # Events in, observations out

    def observe(self, index: int, event: Json) -> Json:
        self.trades = []
        reason = getattr(self, event["op"])(event)
        state = self.state()
        return {
            "index": index,
            "outcome": {"status": "rejected" if reason else "applied", "reason": reason, "message": None},
            "trades": self.trades,
            "state_hash": sha256(canonical(state)).hexdigest(),
            "resting_order_count": self.engine.resting_orders,
        }

    def state(self) -> Json:
        return {"books": [self.book(symbol) for symbol in sorted(self.symbols)]}

    def book(self, symbol: str) -> Json:
        halves: dict[Side, list[Json]] = {Side.BUY: [], Side.SELL: []}
        for side, price, order_id, remaining in self.engine.resting(symbol):
            source = self.sources[order_id]
            halves[side].append(
                {
                    "order_id": source.order_id,
                    "price": plain(price * self.tick),
                    "remaining_quantity": plain(remaining * LOT),
                    "owner": source.owner,
                    "order_type": "LIMIT",
                }
            )
        return {"symbol": symbol, "bids": halves[Side.BUY], "asks": halves[Side.SELL]}

    # The operations: each gives the reason of a rejection, or None

    def new(self, event: Json) -> str | None:
        self.list_symbol(event["symbol"])
        quantity = lots(event["quantity"])
        order_type, time_in_force = TERMS[event["order_type"]]
        order = PlaceOrder(
            symbol=event["symbol"],
            side=Side[event["side"]],
            type=order_type,
            quantity=quantity,
            price=None if order_type is OrderType.MARKET else self.ticks(event["price"]),
            time_in_force=time_in_force,
            client_order_id=str(event["order_id"]),
        )
        return self.place(order, Source(event["order_id"], event["owner"], quantity))

    def cancel(self, event: Json) -> str | None:
        return self.send(CancelOrder(self.order_id(event)))

    def reduce(self, event: Json) -> str | None:
        order_id, reduction = self.order_id(event), lots(event["quantity"])
        remaining = self.remaining(event["symbol"], order_id)
        if remaining is not None and reduction > remaining:
            return "INVALID_ORDER"
        if remaining is None or reduction == remaining:
            return self.send(CancelOrder(order_id))
        return self.change(order_id, None, self.sources[order_id].quantity - reduction)

    def replace(self, event: Json) -> str | None:
        order_id, symbol = self.order_id(event), event["symbol"]
        resting = self.find(symbol, order_id)
        if resting is None:
            return self.send(CancelOrder(order_id))
        side, old_price, remaining = resting
        price = old_price if event["price"] is None else self.ticks(event["price"])
        wanted = remaining if event["quantity"] is None else lots(event["quantity"])
        if price < 1 or wanted < 1:
            return "INVALID_REPLACEMENT"
        source = self.sources[order_id]
        if price != old_price or wanted > remaining:
            return self.change(order_id, price, source.quantity - remaining + wanted)
        self.send(CancelOrder(order_id))
        anew = PlaceOrder(symbol, side, OrderType.LIMIT, wanted, price)
        return self.place(anew, Source(source.order_id, source.owner, wanted))

    def clear(self, event: Json) -> str | None:
        self.list_symbol(event["symbol"])
        for _, _, order_id, _ in self.engine.resting(event["symbol"]):
            assert self.send(CancelOrder(order_id)) is None
        return None

    # The engine

    def list_symbol(self, symbol: str) -> None:
        if symbol not in self.symbols:
            self.symbols.add(symbol)
            assert self.send(DefineInstrument(symbol, plain(self.tick), plain(LOT), 1, MAX_QUANTITY)) is None

    def place(self, order: PlaceOrder, source: Source) -> str | None:
        if self.prevention is not SelfTradePrevention.NONE:
            if order.client_order_id and self.remaining(order.symbol, self.id_of(order.symbol, source)) is not None:
                return REASONS[RejectReason.DUPLICATE_CLIENT_ORDER_ID]
            order = replace(order, client_order_id=None)
        result = self.engine.apply(self.owned(order, source.owner), 0)
        if isinstance(result, Outcome):
            accepted = result.events[0]
            assert isinstance(accepted, OrderAccepted)
            self.order_ids[order.symbol, source.order_id] = accepted.order_id
            self.sources[accepted.order_id] = source
        return self.report(result)

    def owned(self, order: PlaceOrder, owner: int) -> PlaceOrder:
        if self.prevention is SelfTradePrevention.NONE or owner == NO_OWNER:
            return replace(order, account=order.symbol)
        return replace(order, account=f"{order.symbol}-{owner}", terms=Terms(self_trade_prevention=self.prevention))

    def change(self, order_id: int, price: int | None, quantity: int) -> str | None:
        reason = self.send(AmendOrder(order_id, price, quantity))
        if reason is None:
            self.sources[order_id].quantity = quantity
        return reason

    def send(self, command: CancelOrder | AmendOrder | DefineInstrument) -> str | None:
        return self.report(self.engine.apply(command, 0))

    def report(self, result: Result) -> str | None:
        if isinstance(result, Repeated):
            return REASONS[RejectReason.DUPLICATE_CLIENT_ORDER_ID]
        if isinstance(result, Refusal):
            return REASONS.get(result.reason, "INVALID_ORDER")
        self.trades += [self.fill(event) for event in result.events if isinstance(event, TradeExecuted)]
        return None

    def fill(self, trade: TradeExecuted) -> Json:
        taker, maker = (self.sources[order_id].order_id for order_id in (trade.taker_order_id, trade.maker_order_id))
        buyer, seller = (taker, maker) if trade.taker_side is Side.BUY else (maker, taker)
        return {
            "symbol": trade.symbol,
            "buy_order_id": buyer,
            "sell_order_id": seller,
            "price": plain(trade.price * self.tick),
            "quantity": plain(trade.quantity * LOT),
        }

    # What an event speaks of

    def order_id(self, event: Json) -> int:
        """The engine's id; 0, which it never gave, for an id that was never used."""
        return self.order_ids.get((event["symbol"], event["order_id"]), 0)

    def id_of(self, symbol: str, source: Source) -> int:
        return self.order_ids.get((symbol, source.order_id), 0)

    def find(self, symbol: str, order_id: int) -> tuple[Side, int, int] | None:
        if symbol not in self.symbols:
            return None
        resting = self.engine.resting(symbol)
        return next(((side, price, left) for side, price, found, left in resting if found == order_id), None)

    def remaining(self, symbol: str, order_id: int) -> int | None:
        resting = self.find(symbol, order_id)
        return resting[2] if resting else None

    def ticks(self, price: Decimal) -> int:
        return int((price / self.tick).quantize(Decimal(1), ROUND_HALF_EVEN))


def lots(quantity: Decimal) -> int:
    count, rest = divmod(quantity, LOT)
    if rest:
        raise ValueError(f"{quantity} has more than nine decimals")
    return int(count)


def plain(number: Decimal) -> str:
    """Tracebook's canonical decimal string: no exponent, no zeros at the end."""
    return format(number.normalize(), "f")


def canonical(state: Json) -> bytes:
    return json.dumps(state, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(line: str) -> Json:
    message: Json = json.loads(line, parse_float=Decimal)
    return message


def exchange(lines: Iterator[str]) -> Iterator[Json]:
    """The protocol: one answer to each line."""
    try:
        candidate = Candidate(parse(next(lines))["config"])
    except Unsupported as error:
        yield {"type": "error", "code": "UNSUPPORTED", "message": str(error)}
        return
    yield {"type": "ready", **PROTOCOL, "engine": ENGINE}
    for message in map(parse, lines):
        match message["type"]:
            case "event":
                yield {"type": "observation", **candidate.observe(message["index"], message["event"])}
            case "snapshot":
                yield {"type": "snapshot", "index": message["index"], "state": candidate.state()}
            case "finish":
                yield {"type": "complete", "event_count": message["event_count"]}
                return


def leave_with(last: str) -> None:
    """Tracebook wants a candidate to have ended half a second after its last answer, which a busy machine may not let
    it. So a child gives it, when this process has ended already."""
    us = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == us:
        time.sleep(0.001)
    print(last, flush=True)
    os._exit(0)


if __name__ == "__main__":
    for answer in exchange(sys.stdin):
        if answer["type"] == "complete":
            leave_with(json.dumps(answer))
        print(json.dumps(answer), flush=True)
