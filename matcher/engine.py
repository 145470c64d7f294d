"""What every command leads to: the rules of the exchange.

Pure and deterministic: the same commands at the same times give the same results, byte for byte. No clock, no
randomness, no I/O, no floats. docs/semantics.md tells the rules to users; tests/matcher/stories shows each.
"""

import re
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from contracts.decimals import NotDecimal, Step
from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    MAX_FILLS,
    MAX_PRICE,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    AmendOrder,
    CancelOrder,
    CancelReason,
    Command,
    DefineInstrument,
    Event,
    InstrumentDefined,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Result,
    Side,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import placed_order
from contracts.views import Instrument
from matcher.book import BookSide, Order, OrderBook, PriceLevel

_NAME = re.compile(NAME_PATTERN)
_SYMBOL = re.compile(SYMBOL_PATTERN)
_state_encoder = msgspec.msgpack.Encoder()


class Engine:
    """The state of the whole exchange. `apply` is the only way to change it."""

    def __init__(self) -> None:
        self._books: dict[str, OrderBook] = {}
        self._resting: dict[int, Order] = {}
        self._client_order_ids = ClientOrderIds()
        self._last_order_id = 0
        self._last_trade_id = 0

    def apply(self, command: Command, time: int) -> Result:
        """Carry out one command at `time` (microseconds). A Refusal leaves no trace in the state."""
        match command:
            case PlaceOrder():
                return self._place(command, time)
            case CancelOrder():
                return self._cancel(command)
            case AmendOrder():
                return self._amend(command)
            case DefineInstrument():
                return self._define_instrument(command)

    # Commands

    def _place(self, command: PlaceOrder, time: int) -> Result:
        book = self._books.get(command.symbol)
        if book is None:
            return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if refusal := _refuse_terms(command, book.instrument) or self._refuse_now(command, book):
            return refusal
        self._last_order_id += 1
        order_id = self._last_order_id
        if command.client_order_id is not None:
            self._client_order_ids.add(command.account, command.client_order_id, order_id)
        order = Order(placed_order(command, order_id, time))
        return self._execute(order, book, [OrderAccepted(order_id)], {})

    def _cancel(self, command: CancelOrder) -> Result:
        order = self._resting.get(command.order_id)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        level = self._take_out(order)
        return _outcome(order, [OrderCanceled(order.state, CancelReason.REQUESTED)], _touch({}, order.side, level))

    def _amend(self, command: AmendOrder) -> Result:
        order = self._resting.get(command.order_id)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        assert order.price is not None
        book = self._books[order.symbol]
        if refusal := _refuse_amendment(command, order, book):
            return refusal
        price = order.price if command.price is None else command.price
        quantity = order.quantity if command.quantity is None else command.quantity
        filled = order.quantity - order.remaining
        if quantity <= filled:
            level = self._take_out(order)
            canceled = OrderCanceled(order.state, CancelReason.AMENDED_BELOW_FILLED)
            return _outcome(order, [canceled], _touch({}, order.side, level))
        if price == order.price and quantity <= order.quantity:
            return _shrink(order, quantity)
        level = self._take_out(order)
        order.price, order.quantity, order.remaining = price, quantity, quantity - filled
        amended = OrderAmended(order.state, priority_kept=False)
        return self._execute(order, book, [amended], _touch({}, order.side, level))

    def _define_instrument(self, command: DefineInstrument) -> Result:
        if refusal := _refuse_definition(command):
            return refusal
        rules = Instrument(
            command.symbol, command.tick_size, command.lot_size, command.min_quantity, command.max_quantity
        )
        book = self._books.get(command.symbol)
        if book is None:
            self._books[command.symbol] = OrderBook(rules)
        elif rules.tick != book.instrument.tick:
            return Refusal(RejectReason.INSTRUMENT_RULES_FIXED, "tick_size")
        elif rules.lot != book.instrument.lot:
            return Refusal(RejectReason.INSTRUMENT_RULES_FIXED, "lot_size")
        else:
            book.instrument = rules
        return Outcome((InstrumentDefined(command.symbol),))

    # Refusals that depend on what the exchange holds

    def _refuse_now(self, command: PlaceOrder, book: OrderBook) -> Refusal | None:
        if command.client_order_id is not None:
            first = self._client_order_ids.find(command.account, command.client_order_id)
            if first is not None:
                return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", first)
        if len(self._resting) >= MAX_RESTING_ORDERS:
            return Refusal(RejectReason.TOO_MANY_ORDERS)
        if command.post_only and book.makers(command.side).reaches(command.price):
            return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "post_only")
        return None

    # Matching

    def _execute(
        self, order: Order, book: OrderBook, events: list[Event], touched: dict[tuple[Side, int], PriceLevel]
    ) -> Outcome:
        """Trade what can be traded, then let the rest of the order rest or cancel it."""
        makers = book.makers(order.side)
        killed = order.time_in_force is TimeInForce.FOK and not makers.can_fill(order.remaining, order.price, MAX_FILLS)
        stopped_at_limit = not killed and makers.reaches(order.price) and self._trade(order, makers, events, touched)
        if not order.remaining:
            return _outcome(order, events, touched)
        if reason := _reason_to_cancel(order, killed, stopped_at_limit):
            events.append(OrderCanceled(order.state, reason))
        else:
            self._resting[order.order_id] = order
            _touch(touched, order.side, book.own(order.side).add(order))
        return _outcome(order, events, touched)

    def _trade(
        self, taker: Order, makers: BookSide, events: list[Event], touched: dict[tuple[Side, int], PriceLevel]
    ) -> bool:
        """Fill the taker from the best makers within its limit. True when MAX_FILLS stopped it."""
        for _ in range(MAX_FILLS):
            level = makers.best
            assert level is not None
            maker = level.head
            assert maker is not None
            quantity = min(taker.remaining, maker.remaining)
            self._last_trade_id += 1
            events.append(
                TradeExecuted(
                    self._last_trade_id,
                    taker.symbol,
                    level.price,
                    quantity,
                    taker.side,
                    maker.order_id,
                    taker.order_id,
                )
            )
            self._fill_maker(maker, makers, quantity)
            taker.remaining -= quantity
            taker.notional += quantity * level.price
            _touch(touched, maker.side, level)
            if not taker.remaining or not makers.reaches(taker.price):
                return False
        return True

    def _fill_maker(self, maker: Order, side: BookSide, quantity: int) -> None:
        level = maker.level
        assert level is not None
        maker.notional += quantity * level.price
        if quantity == maker.remaining:
            side.remove(maker)
            maker.remaining = 0
            del self._resting[maker.order_id]
        else:
            maker.remaining -= quantity
            level.quantity -= quantity

    def _take_out(self, order: Order) -> PriceLevel:
        del self._resting[order.order_id]
        return self._books[order.symbol].own(order.side).remove(order)

    # What can be read

    @property
    def resting_orders(self) -> int:
        return len(self._resting)

    def symbol_of(self, order_id: int) -> str | None:
        """What a resting order is an order for."""
        order = self._resting.get(order_id)
        return None if order is None else order.symbol

    @property
    def instruments(self) -> list[Instrument]:
        """Every listed instrument, by symbol."""
        return [self._books[symbol].instrument for symbol in sorted(self._books)]

    def depth(self, symbol: str, levels: int | None = None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bids and asks as (price, quantity), best first."""
        book = self._books[symbol]
        return book.bids.depth(levels), book.asks.depth(levels)

    def resting(self, symbol: str) -> list[tuple[Side, int, int, int]]:
        """(side, price, order_id, remaining) of every resting order, in priority order, bids first."""
        return [(order.side, order.price or 0, order.order_id, order.remaining) for order in self._books[symbol]]

    def state_hash(self) -> bytes:
        """Names the whole state: equal for two engines exactly when they will answer everything alike.

        Costs a walk over every resting order and remembered client order id.
        """
        digest = blake2b(digest_size=32)
        digest.update(_state_encoder.encode((self._last_order_id, self._last_trade_id)))
        for symbol in sorted(self._books):
            digest.update(_state_encoder.encode(self._books[symbol].instrument))
            for order in self._books[symbol]:
                digest.update(_state_encoder.encode(order.state))
        for entry in self._client_order_ids:
            digest.update(_state_encoder.encode(entry))
        return digest.digest()

    def check(self) -> None:
        """Assert every invariant."""
        resting = {}
        for symbol, book in self._books.items():
            book.check()
            for order in book:
                assert order.symbol == symbol, "an order in a foreign book"
                resting[order.order_id] = order
        assert resting == self._resting, "the index and the books hold different orders"
        assert len(self._client_order_ids) <= CLIENT_ORDER_ID_WINDOW, "the window of client order ids grew too large"


class ClientOrderIds:
    """The latest client order ids and the orders they were used for; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._order_ids: dict[str, int] = {}
        self._oldest_first: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._order_ids)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter([(key, self._order_ids[key]) for key in self._oldest_first])

    def find(self, account: str, client_order_id: str) -> int | None:
        return self._order_ids.get(f"{account}/{client_order_id}")

    def add(self, account: str, client_order_id: str, order_id: int) -> None:
        key = f"{account}/{client_order_id}"
        self._order_ids[key] = order_id
        self._oldest_first.append(key)
        if len(self._oldest_first) > CLIENT_ORDER_ID_WINDOW:
            del self._order_ids[self._oldest_first.popleft()]


def _refuse_terms(command: PlaceOrder, instrument: Instrument) -> Refusal | None:
    """What is wrong with the order itself, whatever the book holds."""
    if not _NAME.fullmatch(command.account):
        return Refusal(RejectReason.INVALID_ACCOUNT, "account")
    if command.client_order_id is not None and not _NAME.fullmatch(command.client_order_id):
        return Refusal(RejectReason.INVALID_CLIENT_ORDER_ID, "client_order_id")
    if not instrument.min_quantity <= command.quantity <= instrument.max_quantity:
        return Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
    is_limit = command.type is OrderType.LIMIT
    if is_limit and command.price is None:
        return Refusal(RejectReason.PRICE_REQUIRED, "price")
    if not is_limit and command.price is not None:
        return Refusal(RejectReason.PRICE_NOT_ALLOWED, "price")
    if command.price is not None and not 1 <= command.price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "price")
    if command.post_only and not (is_limit and command.time_in_force is TimeInForce.GTC):
        return Refusal(RejectReason.POST_ONLY_NOT_ALLOWED, "post_only")
    return None


def _refuse_amendment(command: AmendOrder, order: Order, book: OrderBook) -> Refusal | None:
    if command.price is None and command.quantity is None:
        return Refusal(RejectReason.NOTHING_TO_AMEND)
    rules = book.instrument
    if command.quantity is not None and not rules.min_quantity <= command.quantity <= rules.max_quantity:
        return Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
    if command.price is None:
        return None
    if not 1 <= command.price <= MAX_PRICE:
        return Refusal(RejectReason.PRICE_OUT_OF_RANGE, "price")
    falls_below_filled = command.quantity is not None and command.quantity <= order.quantity - order.remaining
    if order.post_only and not falls_below_filled and book.makers(order.side).reaches(command.price):
        return Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "price")
    return None


def _refuse_definition(command: DefineInstrument) -> Refusal | None:
    if not _SYMBOL.fullmatch(command.symbol):
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
    return None


def _reason_to_cancel(order: Order, killed: bool, stopped_at_limit: bool) -> CancelReason | None:
    """Why what is left of an order that has done its trading must not rest, if so."""
    if killed:
        return CancelReason.FILL_OR_KILL
    if stopped_at_limit:
        return CancelReason.FILL_LIMIT
    if order.type is OrderType.MARKET:
        return CancelReason.NO_LIQUIDITY
    if order.time_in_force is TimeInForce.IOC:
        return CancelReason.IMMEDIATE_OR_CANCEL
    return None


def _shrink(order: Order, quantity: int) -> Outcome:
    """A smaller total at the same price: the order keeps its place."""
    level = order.level
    assert level is not None
    decrease = order.quantity - quantity
    order.quantity -= decrease
    order.remaining -= decrease
    level.quantity -= decrease
    return _outcome(order, [OrderAmended(order.state, priority_kept=True)], _touch({}, order.side, level))


def _touch(
    touched: dict[tuple[Side, int], PriceLevel], side: Side, level: PriceLevel
) -> dict[tuple[Side, int], PriceLevel]:
    """Remember that the level's total may have changed; a level made anew at the same price takes its place."""
    touched[side, level.price] = level
    return touched


def _outcome(order: Order, events: list[Event], touched: dict[tuple[Side, int], PriceLevel]) -> Outcome:
    levels = [LevelChanged(order.symbol, side, price, level.quantity) for (side, price), level in touched.items()]
    return Outcome(tuple(events), tuple(levels))
