"""Why a command is refused: every check that only looks. Pure; the engine asks before it changes anything.

The order of the checks is part of the rules: the first that fails names the refusal.
"""

import re

from contracts.decimals import NotDecimal, Step
from contracts.messages import (
    MAX_BAND_BASIS_POINTS,
    MAX_NOTIONAL,
    MAX_PRICE,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    AmendOrder,
    DefineInstrument,
    InstrumentStatus,
    PlaceOrder,
    Refusal,
    RejectReason,
    SetAccountLimits,
    Side,
    SymbolLimits,
    Terms,
)
from contracts.views import Instrument
from matcher.book import (
    BUY,
    CANCEL_ONLY,
    DAY,
    FOK,
    GTC,
    GTD,
    HALTED,
    LIMIT,
    LIMIT_TYPES,
    MARKET,
    POST_ONLY,
    STOP_TYPES,
    TRADING,
    Holding,
    Order,
    OrderBook,
)

is_name = re.compile(NAME_PATTERN).fullmatch
_is_symbol = re.compile(SYMBOL_PATTERN).fullmatch

RESTING_TIMES = (GTC, GTD, DAY)
"""With one of these what an order cannot trade at once may rest."""
_NO_TERMS = Terms()
_MAX_LIMIT = MAX_QUANTITY * 1000


# An order's own terms, whatever the book holds


def refuse_terms(command: PlaceOrder, rules: Instrument, time: int, *, is_known: bool) -> Refusal | None:
    """`is_known`: there is such an account, so it has a good name."""
    terms = command.terms or _NO_TERMS
    is_limit = command.type in LIMIT_TYPES
    if not is_known and not is_name(command.account):
        return Refusal(RejectReason.INVALID_ACCOUNT, "account")
    if command.client_order_id is not None and not is_name(command.client_order_id):
        return Refusal(RejectReason.INVALID_CLIENT_ORDER_ID, "client_order_id")
    if terms.notional is not None and command.quantity != 0:
        return Refusal(RejectReason.NOTIONAL_NOT_ALLOWED, "notional")
    if terms.notional is None and not rules.min_quantity <= command.quantity <= rules.max_quantity:
        return Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
    if is_limit and command.price is None:
        return Refusal(RejectReason.PRICE_REQUIRED, "price")
    if not is_limit and command.price is not None:
        return Refusal(RejectReason.PRICE_NOT_ALLOWED, "price")
    if command.price is not None and not 1 <= command.price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "price")
    if command.terms is None and command.type is LIMIT and command.time_in_force is not GTD and not command.post_only:
        return None  # what most orders are: nothing below can be wrong with it
    return (
        _refuse_stop_price(command, terms)
        or _refuse_time_in_force(command, terms, time)
        or _refuse_display(command, terms, rules)
        or _refuse_spending(command, terms)
    )


def has_good_terms(command: PlaceOrder, rules: Instrument, time: int) -> bool:
    """Is all well with what a limit order is beyond price and quantity? (`refuse_terms` says what is not.)"""
    time_in_force, terms = command.time_in_force, command.terms or _NO_TERMS
    expires_at, display = terms.expires_at, terms.display_quantity
    return (
        terms.stop_price is terms.protection_price is terms.notional is None
        and (time_in_force is not GTD if expires_at is None else time_in_force is GTD and expires_at > time)
        and (display is None or rules.min_quantity <= display <= command.quantity)
        and ((display is None and not command.post_only) or time_in_force in RESTING_TIMES)
    )


def _refuse_stop_price(command: PlaceOrder, terms: Terms) -> Refusal | None:
    is_stop = command.type is not LIMIT and command.type in STOP_TYPES
    if is_stop and terms.stop_price is None:
        return Refusal(RejectReason.STOP_PRICE_REQUIRED, "stop_price")
    if not is_stop and terms.stop_price is not None:
        return Refusal(RejectReason.STOP_PRICE_NOT_ALLOWED, "stop_price")
    if terms.stop_price is not None and not 1 <= terms.stop_price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "stop_price")
    return None


def _refuse_time_in_force(command: PlaceOrder, terms: Terms, time: int) -> Refusal | None:
    time_in_force, expires_at = command.time_in_force, terms.expires_at
    if command.type is MARKET and time_in_force in (GTD, DAY):
        return Refusal(RejectReason.TIME_IN_FORCE_NOT_ALLOWED, "time_in_force")
    if time_in_force is FOK and terms.notional is not None:
        return Refusal(RejectReason.TIME_IN_FORCE_NOT_ALLOWED, "time_in_force")
    if time_in_force is GTD and expires_at is None:
        return Refusal(RejectReason.EXPIRY_REQUIRED, "expires_at")
    if expires_at is not None:
        if time_in_force is not GTD:
            return Refusal(RejectReason.EXPIRY_NOT_ALLOWED, "expires_at")
        if expires_at <= time:
            return Refusal(RejectReason.EXPIRY_IN_THE_PAST, "expires_at")
    if command.post_only and not (command.type is LIMIT and time_in_force in RESTING_TIMES):
        return Refusal(RejectReason.POST_ONLY_NOT_ALLOWED, "post_only")
    return None


def _refuse_display(command: PlaceOrder, terms: Terms, rules: Instrument) -> Refusal | None:
    if terms.display_quantity is None:
        return None
    if command.type not in LIMIT_TYPES or command.time_in_force not in RESTING_TIMES:
        return Refusal(RejectReason.DISPLAY_QUANTITY_NOT_ALLOWED, "display_quantity")
    if not rules.min_quantity <= terms.display_quantity <= command.quantity:
        return Refusal(RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE, "display_quantity")
    return None


def _refuse_spending(command: PlaceOrder, terms: Terms) -> Refusal | None:
    if terms.protection_price is not None:
        if command.type in LIMIT_TYPES:
            return Refusal(RejectReason.PROTECTION_PRICE_NOT_ALLOWED, "protection_price")
        if not 1 <= terms.protection_price <= MAX_PRICE:
            return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "protection_price")
    if terms.notional is not None:
        if command.type is not MARKET:
            return Refusal(RejectReason.NOTIONAL_NOT_ALLOWED, "notional")
        if not 1 <= terms.notional <= MAX_NOTIONAL:
            return Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, "notional")
    return None


# An order against what the exchange holds


def refuse_status(status: InstrumentStatus) -> Refusal | None:
    """May orders be placed at all?"""
    if status is TRADING:
        return None
    match status:
        case InstrumentStatus.DELISTED:
            return Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")
        case InstrumentStatus.HALTED:
            return Refusal(RejectReason.INSTRUMENT_HALTED, "symbol")
        case InstrumentStatus.CANCEL_ONLY:
            return Refusal(RejectReason.INSTRUMENT_CANCEL_ONLY, "symbol")
    return None


def refuse_band(price: int, field: str, book: OrderBook) -> Refusal | None:
    lowest, highest = book.band()
    if (lowest is None or price >= lowest) and (highest is None or price <= highest):
        return None
    return Refusal(RejectReason.PRICE_OUTSIDE_BAND, field, lowest=lowest, highest=highest)


def refuse_prices(command: PlaceOrder, book: OrderBook) -> Refusal | None:
    if command.price is not None:
        return refuse_band(command.price, "price", book)
    if command.terms is not None and command.terms.protection_price is not None:
        return refuse_band(command.terms.protection_price, "protection_price", book)
    return None


def refuse_by_market(command: PlaceOrder, book: OrderBook) -> Refusal | None:
    """Post-only, the order's own and the instrument's; and whether an order by notional can buy anything."""
    makers = book.makers(command.side)
    if book.status is POST_ONLY and _would_trade(command, book):
        return Refusal(RejectReason.INSTRUMENT_POST_ONLY, "symbol")
    if command.post_only and makers.reaches(command.price):
        return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "post_only")
    if command.terms is not None and command.terms.notional is not None:
        limit, _ = market_limit(command.side, command.terms.protection_price, book)
        if not makers.reaches(limit):
            return Refusal(RejectReason.NO_LIQUIDITY, "notional")
        assert makers.best is not None
        if makers.best.price > command.terms.notional:
            return Refusal(RejectReason.NOTIONAL_TOO_SMALL, "notional")
    return None


def _would_trade(command: PlaceOrder, book: OrderBook) -> bool:
    """In an instrument where nothing may: only a limit order that rests, or a stop that waits, does not."""
    if command.type in STOP_TYPES:
        assert command.terms is not None
        assert command.terms.stop_price is not None
        return book.has_reached(command.side, command.terms.stop_price)
    if command.type is not LIMIT or command.time_in_force not in RESTING_TIMES:
        return True
    return book.makers(command.side).reaches(command.price)


def market_limit(side: Side, protection_price: int | None, book: OrderBook) -> tuple[int | None, bool]:
    """How far an order without a price may trade, and whether that is its own protection price."""
    lowest, highest = book.band()
    edge = highest if side is BUY else lowest
    if protection_price is None or edge is None:
        return (edge, False) if protection_price is None else (protection_price, True)
    tighter = min(protection_price, edge) if side is BUY else max(protection_price, edge)
    return tighter, tighter == protection_price


# The limits of an account


def refuse_open_orders(open_orders: int, limit: int) -> Refusal | None:
    if open_orders >= limit:
        return Refusal(RejectReason.MAX_OPEN_ORDERS, "account", limit=limit)
    return None


def refuse_size(command: PlaceOrder, limits: SymbolLimits, book: OrderBook) -> Refusal | None:
    """The largest order, by quantity and by notional."""
    terms = command.terms or _NO_TERMS
    quantity = command.quantity
    if limits.max_order_quantity is not None and quantity > limits.max_order_quantity:
        return Refusal(RejectReason.MAX_ORDER_QUANTITY, "quantity", limit=limits.max_order_quantity)
    if limits.max_order_notional is None:
        return None
    price = command.price or terms.protection_price or terms.stop_price or best_price(book, command.side)
    notional = terms.notional if terms.notional is not None else quantity * (price or 0)
    if notional > limits.max_order_notional:
        field = "quantity" if terms.notional is None else "notional"
        return Refusal(RejectReason.MAX_ORDER_NOTIONAL, field, limit=limits.max_order_notional)
    return None


def refuse_position(
    side: Side, quantity: int, waiting: int, holding: Holding | None, limits: SymbolLimits
) -> Refusal | None:
    """The position if this and all that waits (open orders of the side) were filled."""
    if limits.max_position is None:
        return None
    position = 0 if holding is None else holding.position
    if (position if side is BUY else -position) + waiting + quantity > limits.max_position:
        return Refusal(RejectReason.MAX_POSITION, "quantity", limit=limits.max_position)
    return None


def best_price(book: OrderBook, side: Side) -> int | None:
    """What an order of this side would meet first."""
    best = book.makers(side).best
    return None if best is None else best.price


# Amendments


def refuse_amendment_terms(command: AmendOrder, order: Order, book: OrderBook) -> Refusal | None:
    """What is wrong with an amendment before the account's limits are looked at."""
    rules = book.instrument
    if book.status is HALTED:
        return Refusal(RejectReason.INSTRUMENT_HALTED, "order_id")
    if book.status is CANCEL_ONLY:
        return Refusal(RejectReason.INSTRUMENT_CANCEL_ONLY, "order_id")
    if order.holding.account.killed:
        return Refusal(RejectReason.KILL_SWITCH_ENGAGED, "order_id")
    if command.price is None and command.quantity is None and command.stop_price is None:
        return Refusal(RejectReason.NOTHING_TO_AMEND)
    if command.quantity is not None and not rules.min_quantity <= command.quantity <= rules.max_quantity:
        return Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
    if command.stop_price is not None and not order.waits_for_trigger:
        return Refusal(RejectReason.STOP_PRICE_NOT_ALLOWED, "stop_price")
    if command.price is not None and order.type not in LIMIT_TYPES:
        return Refusal(RejectReason.PRICE_NOT_ALLOWED, "price")
    if command.price is not None and not 1 <= command.price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "price")
    if command.stop_price is not None and not 1 <= command.stop_price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "stop_price")
    return None if command.price is None else refuse_band(command.price, "price", book)


def refuse_amended_size(command: AmendOrder, order: Order, limits: SymbolLimits) -> Refusal | None:
    quantity = order.quantity if command.quantity is None else command.quantity
    if (
        command.quantity is not None
        and limits.max_order_quantity is not None
        and command.quantity > limits.max_order_quantity
    ):
        return Refusal(RejectReason.MAX_ORDER_QUANTITY, "quantity", limit=limits.max_order_quantity)
    if command.quantity is None and command.price is None:
        return None
    price = command.price or order.price or command.stop_price or order.stop_price or 0
    if limits.max_order_notional is not None and quantity * price > limits.max_order_notional:
        return Refusal(RejectReason.MAX_ORDER_NOTIONAL, "quantity", limit=limits.max_order_notional)
    return None


def refuse_amended_prices(command: AmendOrder, order: Order, book: OrderBook) -> Refusal | None:
    """Post-only, the order's own and the instrument's."""
    if command.stop_price is not None and book.status is POST_ONLY:
        if book.has_reached(order.side, command.stop_price):
            return Refusal(RejectReason.INSTRUMENT_POST_ONLY, "stop_price")
        return None
    if command.price is None or order.waits_for_trigger or not book.makers(order.side).reaches(command.price):
        return None
    return refuse_to_trade(order.post_only, book, "price", "price")


def refuse_to_trade(post_only: bool, book: OrderBook, own_field: str, book_field: str) -> Refusal | None:
    """Why an order that would trade may not: by its own wish, or because nothing in the instrument may."""
    if post_only:
        return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, own_field)
    if book.status is POST_ONLY:
        return Refusal(RejectReason.INSTRUMENT_POST_ONLY, book_field)
    return None


# Administration


def refuse_definition(command: DefineInstrument) -> Refusal | None:
    if not _is_symbol(command.symbol):
        return Refusal(RejectReason.INVALID_SYMBOL, "symbol")
    for field in ("tick_size", "lot_size"):
        try:
            Step.of(getattr(command, field))
        except NotDecimal:
            return Refusal(RejectReason.INVALID_INSTRUMENT, field)
    if not 1 <= command.min_quantity <= command.max_quantity:
        return Refusal(RejectReason.INVALID_INSTRUMENT, "min_quantity")
    if command.max_quantity > MAX_QUANTITY:
        return Refusal(RejectReason.INVALID_INSTRUMENT, "max_quantity")
    return _refuse_bands(command)


def _refuse_bands(command: DefineInstrument) -> Refusal | None:
    for field in ("lowest_price", "highest_price"):
        price = getattr(command, field)
        if price is not None and not 1 <= price <= MAX_PRICE:
            return Refusal(RejectReason.INVALID_INSTRUMENT, field)
    lowest, highest = command.lowest_price, command.highest_price
    if lowest is not None and highest is not None and lowest > highest:
        return Refusal(RejectReason.INVALID_INSTRUMENT, "lowest_price")
    band = command.band_basis_points
    if band is not None and not 1 <= band <= MAX_BAND_BASIS_POINTS:
        return Refusal(RejectReason.INVALID_INSTRUMENT, "band_basis_points")
    return None


def refuse_account_limits(command: SetAccountLimits, symbols: "dict[str, OrderBook]") -> Refusal | None:
    if not is_name(command.account):
        return Refusal(RejectReason.INVALID_ACCOUNT, "account")
    if command.max_open_orders is not None and not 0 <= command.max_open_orders <= MAX_RESTING_ORDERS:
        return Refusal(RejectReason.INVALID_LIMITS, "max_open_orders")
    seen = set()
    for limits in command.symbols:
        if limits.symbol not in symbols:
            return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if limits.symbol in seen:
            return Refusal(RejectReason.INVALID_LIMITS, "symbol")
        seen.add(limits.symbol)
        if refusal := _refuse_symbol_limits(limits):
            return refusal
    return None


def _refuse_symbol_limits(limits: SymbolLimits) -> Refusal | None:
    for field, most in (
        ("max_order_quantity", _MAX_LIMIT),
        ("max_order_notional", MAX_NOTIONAL),
        ("max_position", _MAX_LIMIT),
    ):
        limit = getattr(limits, field)
        if limit is not None and not 0 <= limit <= most:
            return Refusal(RejectReason.INVALID_LIMITS, field)
    return None
