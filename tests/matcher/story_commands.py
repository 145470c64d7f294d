"""The words of the stories as commands. The language is described in story.py."""

from collections.abc import Iterator

from contracts.messages import (
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    Command,
    Continue,
    DefineInstrument,
    InstrumentStatus,
    OrderCommand,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
)

SECOND = 1_000_000
FIRST_MIDNIGHT = 1_699_920_000 * SECOND
"""2023-11-14, the day on which every story begins."""


def instant(clock: str) -> int:
    """09:30:00 is on the story's first day, 33:30:00 the same time on its second."""
    hours, minutes, seconds = map(int, clock.split(":"))
    return FIRST_MIDNIGHT + (hours * 3600 + minutes * 60 + seconds) * SECOND


def parse(words: list[str]) -> Command:
    match words:
        case ["cancel", "all", *terms]:
            return parse_cancel_all(dict(pairs(terms)))
        case ["all", "or", "nothing:", *items]:
            return AllOrNothing(tuple(parse_item(item) for item in split(items)))
        case ["replace", order_id, "by", *placed]:
            return AllOrNothing((CancelOrder(int(order_id)), parse_item(placed)))
        case ["status", symbol, status]:
            return SetInstrumentStatus(symbol, InstrumentStatus(status))
        case ["limits", account, *terms]:
            return parse_limits(account, list(pairs(terms)))
        case ["kill-switch", account, "engaged" | "released" as position]:
            return SetKillSwitch(account, position == "engaged")
        case ["clock", _]:
            return AdvanceClock()
        case ["continue"]:
            return Continue()
        case ["list", symbol, *terms]:
            return parse_list(symbol, dict(pairs(terms)))
    return parse_item(words)


def parse_item(words: list[str]) -> OrderCommand:
    match words:
        case ["cancel", order_id, *terms]:
            return CancelOrder(int(order_id), accounts(dict(pairs(terms)).get("of")))
        case ["amend", order_id, *terms]:
            return parse_amend(int(order_id), dict(pairs(terms)))
        case ["buy" | "sell" as side, *terms]:
            return parse_place(Side(side), terms)
    raise ValueError(f"no such command: {words}")


def pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def split(words: list[str]) -> Iterator[list[str]]:
    """The items of a batch, one "|" between two."""
    item: list[str] = []
    for word in words:
        if word == "|":
            yield item
            item = []
        else:
            item.append(word)
    if item:
        yield item


def number(word: str | None) -> int | None:
    return None if word is None else int(word)


def accounts(word: str | None) -> tuple[str, ...] | None:
    return None if word is None else tuple(word.split(","))


def parse_amend(order_id: int, terms: dict[str, str]) -> AmendOrder:
    return AmendOrder(
        order_id,
        price=number(terms.get("price")),
        quantity=number(terms.get("quantity")),
        stop_price=number(terms.get("stop")),
        accounts=accounts(terms.get("of")),
    )


def parse_cancel_all(terms: dict[str, str]) -> Command:
    if "after" in terms:
        return CancelAllAfter(terms["of"], int(terms["after"]) * SECOND)
    side = Side(terms["side"]) if "side" in terms else None
    return CancelOrders(accounts(terms.get("of")), terms.get("on"), side)


def parse_list(symbol: str, terms: dict[str, str]) -> DefineInstrument:
    return DefineInstrument(
        symbol,
        terms["tick"],
        terms["lot"],
        int(terms["min"]),
        int(terms["max"]),
        lowest_price=number(terms.get("lowest")),
        highest_price=number(terms.get("highest")),
        band_basis_points=number(terms.get("band")),
    )


def parse_limits(account: str, terms: list[tuple[str, str]]) -> SetAccountLimits:
    open_orders = None
    symbols: list[dict[str, str]] = []
    for name, value in terms:
        if name == "open":
            open_orders = int(value)
        elif name == "on":
            symbols.append({name: value})
        else:
            symbols[-1][name] = value
    limits = tuple(
        SymbolLimits(one["on"], number(one.get("quantity")), number(one.get("notional")), number(one.get("position")))
        for one in symbols
    )
    return SetAccountLimits(account, open_orders, limits)


def parse_place(side: Side, words: list[str]) -> PlaceOrder:
    quantity = 0
    if words and words[0].lstrip("-").isdecimal():
        quantity, words = int(words[0]), words[1:]
    alone = {"market", "post-only", *TimeInForce.__members__}
    named = dict(pairs([word for word in words if word not in alone]))
    return PlaceOrder(
        symbol=named.get("on", "X"),
        side=side,
        type=order_type(words, named),
        quantity=quantity,
        price=number(named.get("@")),
        time_in_force=next((TimeInForce(word) for word in words if word in TimeInForce.__members__), TimeInForce.GTC),
        post_only="post-only" in words,
        account=named.get("by", "default"),
        client_order_id=named.get("as"),
        terms=parse_terms(named),
    )


def order_type(words: list[str], named: dict[str, str]) -> OrderType:
    if "type" in named:
        return OrderType(named["type"])
    if "market" in words:
        return OrderType.MARKET
    if "stop" in named:
        return OrderType.STOP_LIMIT if "@" in named else OrderType.STOP
    return OrderType.LIMIT


def parse_terms(named: dict[str, str]) -> Terms | None:
    terms = Terms(
        stop_price=number(named.get("stop")),
        display_quantity=number(named.get("show")),
        protection_price=number(named.get("protect")),
        notional=number(named.get("for")),
        expires_at=instant(named["until"]) if "until" in named else None,
        self_trade_prevention=SelfTradePrevention(named.get("self-trade", "none")),
    )
    return None if terms == Terms() else terms
