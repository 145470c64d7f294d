"""What every command leads to: the rules of the exchange.

Pure and deterministic: the same commands at the same times give the same results, byte for byte. No clock, no
randomness, no I/O, no floats. docs/semantics.md tells the rules to users; tests/matcher/stories shows each.
matcher/checks.py says why a command is refused; here is what happens when it is not.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

import msgspec
from msgspec.structs import replace

from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    MAX_COMMANDS,
    MAX_DELAY,
    MAX_EVENTS,
    MAX_FILLS,
    MAX_PRICE,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
    AccountLimitsSet,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Command,
    Continue,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderCommand,
    OrderReduced,
    OrdersCanceled,
    OrderTriggered,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    Result,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    TradeExecuted,
)
from contracts.orders import accepted_terms
from contracts.views import Instrument, defined_instrument
from matcher import checks
from matcher.batch import Batch, refuse_conflicts
from matcher.book import (
    BUY,
    FOK,
    GTC,
    HALTED,
    IOC,
    LIMIT,
    STOP_TYPES,
    Account,
    BookSide,
    Holding,
    Order,
    OrderBook,
    PriceLevel,
    accepted_order,
)
from matcher.client_order_ids import ClientOrderIds, digest_of
from matcher.ordered import Groups

_ANY_KEY = -(2**63)
"""Below every key of a price level."""
_HASHED_TOGETHER = 4096
_REQUESTED, _IMMEDIATE_OR_CANCEL = CancelReason.REQUESTED, CancelReason.IMMEDIATE_OR_CANCEL
_FILL_OR_KILL, _NO_LIQUIDITY = CancelReason.FILL_OR_KILL, CancelReason.NO_LIQUIDITY
_SELF_TRADE_PREVENTION = CancelReason.SELF_TRADE_PREVENTION
_NO_PREVENTION, _CANCEL_NEWEST = SelfTradePrevention.NONE, SelfTradePrevention.CANCEL_NEWEST
_CANCEL_OLDEST, _DECREMENT = SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.DECREMENT
_state_encoder = msgspec.msgpack.Encoder()


class Budget:
    """What a market order by notional may still spend or earn, and the price at which it met somebody last."""

    __slots__ = ("left", "price")

    def __init__(self, notional: int, price: int | None) -> None:
        self.left = notional
        self.price = price

    def reaches(self, price: int) -> bool:
        """Is it enough for one lot?"""
        return self.left >= price

    def spend(self, quantity: int, price: int) -> int:
        """As much of the quantity as it is enough for."""
        quantity = min(quantity, self.left // price)
        self.left -= quantity * price
        self.price = price
        return quantity


class Work:
    """What one command has led to so far. The engine has one, which `outcome` empties: a new one costs a tenth more."""

    __slots__ = ("budget", "events", "fills_left", "touched", "traded")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.touched: list[PriceLevel] = []
        """Whose total is another now, some more than once."""
        self.fills_left = MAX_FILLS
        self.budget: Budget | None = None
        """Of the order by notional that trades now."""
        self.traded: dict[OrderBook, tuple[int, int]] | None = None
        """Lowest and highest trade price, by book, of what was executed since stops were last looked at."""

    def note_trades(self, book: OrderBook, first_price: int, last_price: int) -> None:
        """Of one order's trades the first and the last have the lowest and the highest price."""
        traded = self.traded = {} if self.traded is None else self.traded
        lowest, highest = traded.get(book, (first_price, first_price))
        traded[book] = (min(lowest, first_price, last_price), max(highest, first_price, last_price))

    def outcome(self) -> Outcome:
        """Each level once, in the order of the first touch; one made anew at a price takes the place of the old."""
        touched = self.touched
        if len(touched) == 1:
            levels: tuple[LevelChanged, ...] = (touched[0].changed(),)
        else:
            at_each_price = {(level.side, level.price): level for level in touched}
            levels = tuple([level.changed() for level in at_each_price.values()])
        outcome = Outcome(tuple(self.events), levels)
        self.events.clear()
        self.touched.clear()
        self.fills_left = MAX_FILLS
        self.traded = None
        return outcome


class Cancelation:
    """Orders that are being canceled together, perhaps over several outcomes. `announcement` comes first."""

    __slots__ = ("announcement", "orders", "reason")

    def __init__(self, orders: Iterable[Order], reason: CancelReason, announcement: Event | None = None) -> None:
        self.orders = deque(orders)
        self.reason = reason
        self.announcement = announcement


class Engine:
    """The state of the whole exchange. `apply` is the only way to change it."""

    def __init__(self) -> None:
        self._books: dict[str, OrderBook] = {}
        self._open: dict[int, Order] = {}
        self._accounts: dict[str, Account] = {}
        self._client_order_ids = ClientOrderIds()
        self._work = Work()
        self._last_order_id = 0
        self._last_trade_id = 0
        self._expiries: Groups[int, Order] = Groups()
        """By the negated `expires_at`: the first to expire comes first."""
        self._deadlines: Groups[str, Account] = Groups()
        """By the negated deadline of the dead-man's switch."""
        self._cancelations: deque[Cancelation] = deque()
        self._triggered: deque[tuple[Order, int]] = deque()
        """Stop orders that were reached, and the latest trade then, until they are carried out."""
        self.unfinished = False
        """Was there more to do than one outcome holds? Then only a Continue may follow."""

    def apply(self, command: Command, time: int, sequence: int = 0) -> Result:
        """Carry out one command at `time` (microseconds), to be part of the commit `sequence`.

        A Refusal and a Repeated leave no trace in the state. After an outcome that leaves the engine `unfinished`
        the next command must be a Continue.
        """
        if isinstance(command, PlaceOrder):  # the two that come most are found sooner than `match` finds them
            return self._place_limit(command, time, sequence) or self._place(command, time, sequence)
        if isinstance(command, CancelOrder):
            return self._cancel(command)
        match command:
            case AmendOrder():
                return self._amend(command)
            case AllOrNothing():
                return self._all_or_nothing(command, time, sequence)
            case CancelOrders():
                return self._cancel_orders(command)
            case CancelAllAfter():
                return self._cancel_all_after(command, time)
            case DefineInstrument():
                return self._define_instrument(command)
            case SetInstrumentStatus():
                return self._set_instrument_status(command)
            case SetAccountLimits():
                return self._set_account_limits(command)
            case SetKillSwitch():
                return self._set_kill_switch(command)
            case AdvanceClock():
                return self._advance_clock(time)
            case Continue():
                return self._finish(self._work)

    @property
    def next_due(self) -> int | None:
        """When an AdvanceClock will next have something to do."""
        expiry, deadline = self._expiries.first_key, self._deadlines.first_key
        if expiry is None or deadline is None:
            first = deadline if expiry is None else expiry
            return None if first is None else -first
        return -max(expiry, deadline)

    # Placing

    def _place(self, command: PlaceOrder, time: int, sequence: int) -> Result:
        book = self._books.get(command.symbol)
        if book is None:
            return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if known := self._known(command):
            return known
        if refusal := self._refuse_place(command, book, time, None):
            return refusal
        work = self._work
        self._accept(command, book, time, sequence, work)
        if work.traded is None and not self._triggered:
            return work.outcome()
        return self._finish(work)

    def _known(self, command: PlaceOrder) -> Repeated | Refusal | None:
        """Was the client order id used before, for this very order or for another?"""
        if command.client_order_id is None:
            return None
        first = self._client_order_ids.find(command.account, command.client_order_id)
        if first is None:
            return None
        if first.digest == digest_of(command):
            return Repeated(first.order_id, first.sequence)
        return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", first.order_id)

    def _refuse_place(self, command: PlaceOrder, book: OrderBook, time: int, batch: Batch | None) -> Refusal | None:
        is_free = book.is_free
        if not is_free and (refusal := checks.refuse_status(book.status)):
            return refusal
        account = self._accounts.get(command.account)
        if refusal := checks.refuse_terms(command, book.instrument, time, is_known=account is not None):
            return refusal
        if account is not None and account.killed:
            return Refusal(RejectReason.KILL_SWITCH_ENGAGED, "account")
        if not is_free and (refusal := checks.refuse_prices(command, book)):
            return refusal
        if account is not None and not account.is_free and (refusal := _refuse_limits(command, account, book, batch)):
            return refusal
        if len(self._open) >= MAX_RESTING_ORDERS:
            return Refusal(RejectReason.TOO_MANY_ORDERS)
        if is_free and command.terms is None and not command.post_only:
            return None
        return checks.refuse_by_market(command, book)

    def _place_limit(self, command: PlaceOrder, time: int, sequence: int) -> Outcome | None:
        """What happens most, by the shortest way: a limit order, nothing wrong with it. None for any other.

        It does what `_place` does, in a third of the time.
        """
        price, quantity, time_in_force = command.price, command.quantity, command.time_in_force
        if command.type is not LIMIT or price is None:
            return None
        try:
            book = self._books[command.symbol]
            holding = book.holdings[command.account]  # who has one has a good name
        except KeyError:
            return None
        if not (book.is_free or book.takes(price)):
            return None
        if command.side is BUY:
            own, best = book.bids, book.asks.best
            trades = best is not None and best.price <= price
        else:
            own, best = book.asks, book.bids.best
            trades = best is not None and best.price >= price
        level = own.levels.get(price)
        if level is None and not 1 <= price <= MAX_PRICE:
            return None
        rules = book.instrument
        if not rules.min_quantity <= quantity <= rules.max_quantity or len(self._open) >= MAX_RESTING_ORDERS:
            return None
        is_special = False
        if not holding.account.is_free:
            if not holding.allows(command.side, quantity, price):
                return None
            is_special = True
        if command.terms is not None or command.post_only or (time_in_force is not GTC and time_in_force is not IOC):
            if (trades and command.post_only) or not checks.has_good_terms(command, rules, time):
                return None
            is_special = True
        order_id = self._last_order_id + 1
        if (client_order_id := command.client_order_id) is not None and not (
            checks.is_name(client_order_id) and self._client_order_ids.add(command, order_id, sequence)
        ):
            return None
        self._last_order_id = order_id
        if trades or time_in_force is IOC or (is_special and time_in_force is FOK):
            return self._take(accepted_order(command, order_id, time, holding), book)
        if level is None:
            level = own.new_level(price)
        tail = level.tail
        order = Order(
            order_id,
            client_order_id,
            holding,
            command.side,
            LIMIT,
            time_in_force,
            command.post_only,
            level.price,  # the one that all orders of the level share: 32 bytes less for each
            quantity,
            quantity,
            time,
            level,
            tail,
        )
        if tail is None:
            level.head = order
        else:
            tail.next = order
        level.tail = order
        level.quantity = total = level.quantity + (self._shown_of(order, command) if is_special else quantity)
        self._open[order_id] = holding.orders[order_id] = order
        return Outcome((OrderAccepted(order_id),), (LevelChanged(own.symbol, own.side, price, total),))

    def _shown_of(self, order: Order, command: PlaceOrder) -> int:
        """Of an order that comes to rest by the short way: note what is special about it."""
        order.holding.wait(order.side, order.quantity)
        order.terms = terms = accepted_terms(command, order.created_at)
        if terms is None:
            return order.quantity
        if terms.expires_at is not None:
            self._expiries.add(-terms.expires_at, order.order_id, order)
        if terms.display_quantity is not None:
            order.show_next_slice()
        return order.quantity - order.hidden

    def _take(self, order: Order, book: OrderBook) -> Outcome:
        work = self._work
        work.events.append(OrderAccepted(order.order_id))
        self._execute(order, book, work)
        return work.outcome() if work.traded is None else self._finish(work)

    def _new_order(self, command: PlaceOrder, book: OrderBook, time: int, sequence: int) -> Order:
        self._last_order_id += 1
        if command.client_order_id is not None:
            self._client_order_ids.add(command, self._last_order_id, sequence)
        holding = book.holdings.get(command.account) or self._holding(book, command.account)
        return accepted_order(command, self._last_order_id, time, holding)

    def _accept(self, command: PlaceOrder, book: OrderBook, time: int, sequence: int, work: Work) -> None:
        order = self._new_order(command, book, time, sequence)
        if command.terms is not None and command.terms.notional is not None:
            self._execute_notional(order, command.terms.notional, book, work)
            return
        work.events.append(OrderAccepted(order.order_id))
        if order.type is LIMIT or order.type not in STOP_TYPES:
            self._execute(order, book, work)
        else:
            self._open_order(order)
            self._wait_or_trigger(order, book)

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name)
        return account

    def _holding(self, book: OrderBook, name: str) -> Holding:
        holding = book.holdings.get(name)
        if holding is None:
            holding = book.holdings[name] = Holding(self._account(name), book)
        return holding

    # Open orders

    def _find(self, order_id: int, accounts: tuple[str, ...] | None) -> Order | None:
        """An open order that is one of these accounts' (None: anybody's)."""
        order = self._open.get(order_id)
        return order if order is not None and (accounts is None or _is_of(order, accounts)) else None

    def _open_order(self, order: Order) -> None:
        self._open[order.order_id] = order
        holding = order.holding
        holding.orders[order.order_id] = order
        holding.wait(order.side, order.remaining)
        if order.terms is not None and order.terms.expires_at is not None:
            self._expiries.add(-order.terms.expires_at, order.order_id, order)

    def _close_order(self, order: Order) -> None:
        """The order is no longer open; it is out of the book and the stops already."""
        holding = order.holding
        del self._open[order.order_id], holding.orders[order.order_id]
        holding.wait(order.side, -order.remaining)
        if order.terms is not None:
            self._forget_expiry(order.terms.expires_at, order.order_id)

    def _forget_expiry(self, expires_at: int | None, order_id: int) -> None:
        if expires_at is not None:
            self._expiries.remove(-expires_at, order_id)

    def _take_out(self, order: Order, work: Work) -> None:
        """Close an order and take it out of the book or the stops."""
        level = order.level
        if level is None:
            order.holding.book.stops.remove(order)
        else:
            level.unlink(order)
            if level.head is None:
                level.side.drop(level)
            work.touched.append(level)
        self._close_order(order)

    def _cancel_order(self, order: Order, reason: CancelReason, work: Work) -> None:
        self._take_out(order, work)
        work.events.append(OrderCanceled(order.state(), reason))

    # Matching

    def _execute(self, order: Order, book: OrderBook, work: Work) -> None:
        """Trade what can be traded, then let the rest of the order rest or cancel it."""
        makers = book.makers(order.side)
        limit, is_own_limit = order.price, True
        if limit is None:
            protection_price = None if order.terms is None else order.terms.protection_price
            limit, is_own_limit = checks.market_limit(order.side, protection_price, book)
        reason: CancelReason | None = None
        if order.time_in_force is FOK and not _can_fill(order, makers, limit, work.fills_left):
            reason = _FILL_OR_KILL
        else:
            reason = self._trade(order, book, makers, limit, work)
        if order.remaining and reason is None:
            reason = _reason_not_to_rest(order, makers, is_own_limit)
            if reason is None:
                self._rest(order, book.own(order.side), work)
                return
        if order.triggered and order.order_id in self._open:  # a stop has been open since it was accepted
            self._close_order(order)
        if order.remaining:
            assert reason is not None
            work.events.append(OrderCanceled(order.state(), reason))

    def _rest(self, order: Order, side: BookSide, work: Work) -> None:
        assert order.price is not None
        if order.terms is not None:
            order.show_next_slice()
        if not order.triggered or order.order_id not in self._open:
            self._open_order(order)
        work.touched.append(side.add(order, order.price))

    def _execute_notional(self, order: Order, notional: int, book: OrderBook, work: Work) -> None:
        """A market order by what it spends or earns; how many lots that is turns out while it trades."""
        assert order.terms is not None
        position = len(work.events)
        work.events.append(OrderAccepted(order.order_id))
        makers = book.makers(order.side)
        limit, is_own_limit = checks.market_limit(order.side, order.terms.protection_price, book)
        work.budget = budget = Budget(notional, checks.best_price(book, order.side))
        order.quantity = order.remaining = book.instrument.max_quantity
        reason = self._trade(order, book, makers, limit, work)
        work.budget = None
        filled = order.filled
        spent = not order.remaining or not budget.left or (reason is None and makers.reaches(limit))
        if spent:
            quantity = filled or 1
            reason = None if filled else _NO_LIQUIDITY
        else:
            quantity = min(MAX_QUANTITY, filled + max(1, budget.left // (budget.price or MAX_PRICE)))
            reason = reason or _reason_not_to_rest(order, makers, is_own_limit)
        order.quantity, order.remaining = quantity, quantity - filled
        work.events[position] = OrderAccepted(order.order_id, quantity)
        if reason is not None:
            work.events.append(OrderCanceled(order.state(), reason))

    def _trade(  # noqa: PLR0915 (faster in one piece)
        self, taker: Order, book: OrderBook, makers: BookSide, limit: int | None, work: Work
    ) -> CancelReason | None:
        """Fill the taker from the best makers within its limit. Returns why its rest must be canceled, if so."""
        events, budget, symbol, side = work.events, work.budget, book.instrument.symbol, taker.side
        holding, taker_id, filled_before = taker.holding, taker.order_id, taker.quantity - taker.remaining
        prevents = taker.terms is not None and taker.terms.self_trade_prevention is not _NO_PREVENTION
        direction = -makers.sign  # 1 for a buyer, -1 for a seller
        last_key = _ANY_KEY if limit is None else limit * makers.sign
        trade_id, fills_left, remaining, notional = self._last_trade_id, work.fills_left, taker.remaining, 0
        reason, first_price, price, touched = None, 0, 0, None
        while (level := makers.best) is not None and level.key >= last_key:
            maker = level.head
            assert maker is not None
            if budget is not None and not budget.reaches(level.price):
                break
            if not fills_left:
                reason = CancelReason.FILL_LIMIT
                break
            fills_left -= 1
            maker_holding = maker.holding
            if prevents and maker_holding is holding:
                taker.remaining, taker.notional, notional = remaining, taker.notional + notional, 0
                if self._prevent_self_trade(taker, maker, work):
                    reason = _SELF_TRADE_PREVENTION
                    break
                remaining = taker.remaining
                continue
            if level is not touched:
                price = level.price
                first_price = first_price or price
                work.touched.append(level)
                touched = level
            maker_remaining, maker_hidden = maker.remaining, maker.hidden
            shown = maker_remaining - maker_hidden
            quantity = shown if shown < remaining else remaining
            if budget is not None:
                quantity = budget.spend(quantity, price)
            trade_id += 1
            events.append(TradeExecuted(trade_id, symbol, price, quantity, side, maker.order_id, taker_id))
            maker_holding.position -= direction * quantity
            if maker_holding.waiting is not None:
                maker_holding.waiting[maker.side] -= quantity
            notional += quantity * price
            if quantity == maker_remaining:
                level.quantity -= quantity
                after = level.head = maker.next
                if after is None:
                    makers.drop(level)
                else:
                    after.previous = None
                del self._open[maker.order_id], maker_holding.orders[maker.order_id]
                if maker.terms is not None:
                    self._forget_expiry(maker.terms.expires_at, maker.order_id)
            else:
                maker.notional += quantity * price
                if maker_hidden:
                    level.fill_iceberg(maker, quantity)
                else:
                    maker.remaining = maker_remaining - quantity
                    level.quantity -= quantity
            remaining -= quantity
            if not remaining:
                break
        work.fills_left = fills_left
        if first_price:
            taker.remaining = remaining
            taker.notional += notional
            holding.position += direction * (taker.quantity - remaining - filled_before)
            self._last_trade_id = book.last_trade_id = trade_id
            book.last_price = price
            if work.traded is not None or (book.stops.count and book.stops.are_reached(first_price, price)):
                work.note_trades(book, first_price, price)
        return reason

    def _prevent_self_trade(self, taker: Order, maker: Order, work: Work) -> bool:
        """Two orders of one account have met. True when the rest of the taker is to be canceled."""
        assert taker.terms is not None
        mode = taker.terms.self_trade_prevention
        if work.budget is not None:
            work.budget.price = maker.price
        if mode is _CANCEL_NEWEST:
            return True
        if mode is _DECREMENT and work.budget is None:
            return self._decrement(taker, maker, work)
        self._cancel_order(maker, _SELF_TRADE_PREVENTION, work)
        return mode is not _CANCEL_OLDEST

    def _decrement(self, taker: Order, maker: Order, work: Work) -> bool:
        """Both lose what they would have traded. True when nothing is left of the taker."""
        quantity = min(taker.remaining, maker.remaining)
        if quantity == maker.remaining:
            self._cancel_order(maker, _SELF_TRADE_PREVENTION, work)
        else:
            level = maker.level
            assert level is not None
            level.quantity -= maker.reduce(quantity)
            maker.holding.wait(maker.side, -quantity)
            work.touched.append(level)
            work.events.append(OrderReduced(maker.state()))
        if quantity == taker.remaining:
            return True
        taker.reduce(quantity)
        work.events.append(OrderReduced(taker.state()))
        return False

    # Stops

    def _wait_or_trigger(self, order: Order, book: OrderBook) -> None:
        assert order.stop_price is not None
        if book.has_reached(order.side, order.stop_price):
            self._triggered.append((order, book.last_trade_id))
        else:
            book.stops.add(order)

    def _collect_triggered(self, work: Work) -> None:
        """Queue the stops that the latest trades have reached."""
        traded, work.traded = work.traded or {}, None
        for book, (lowest, highest) in traded.items():
            if book.stops.count:
                reached = book.stops.reached(lowest, highest)
                self._triggered.extend((order, book.last_trade_id) for order in reached)

    def _run_triggered(self, work: Work) -> None:
        """Carry out triggered stops, and those that they trigger, to the end or until the outcome is full."""
        while self._triggered and len(work.events) < MAX_EVENTS:
            order, trade_id = self._triggered.popleft()
            order.triggered = True
            work.events.append(OrderTriggered(order.order_id, trade_id))
            work.fills_left = MAX_FILLS
            holding, before = order.holding, order.remaining
            self._execute(order, holding.book, work)
            holding.wait(order.side, order.remaining - before)  # as a taker it was open all the while
            self._collect_triggered(work)

    def _finish(self, work: Work) -> Outcome:
        """Do all that follows from what was done, as far as one outcome holds it."""
        if self._cancelations:
            self._run_cancelations(work)
        if work.traded:
            self._collect_triggered(work)
        if self._triggered:
            self._run_triggered(work)
        self.unfinished = bool(self._cancelations or self._triggered)
        return work.outcome()

    # Amending

    def _amend(self, command: AmendOrder) -> Result:
        order = self._find(command.order_id, command.accounts)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        if refusal := self._refuse_amend(command, order):
            return refusal
        work = self._work
        self._carry_out_amendment(command, order, work)
        return self._finish(work)

    def _refuse_amend(self, command: AmendOrder, order: Order) -> Refusal | None:
        book = order.holding.book
        if refusal := checks.refuse_amendment_terms(command, order, book):
            return refusal
        if command.quantity is not None and command.quantity <= order.filled:
            return None
        limits = order.holding.limits
        if limits is not None:
            if refusal := checks.refuse_amended_size(command, order, limits):
                return refusal
            growth = 0 if command.quantity is None else command.quantity - order.quantity
            waiting = _waiting_quantity(order.holding, order.side, None)
            if growth > 0 and (refusal := checks.refuse_position(order.side, growth, waiting, order.holding, limits)):
                return refusal
        return checks.refuse_amended_prices(command, order, book)

    def _carry_out_amendment(self, command: AmendOrder, order: Order, work: Work) -> None:
        price = order.price if command.price is None else command.price
        quantity = order.quantity if command.quantity is None else command.quantity
        if quantity <= order.quantity - order.remaining:
            self._cancel_order(order, CancelReason.AMENDED_BELOW_FILLED, work)
        elif order.waits_for_trigger:
            self._amend_stop(command, order, price, quantity, work)
        elif quantity <= order.quantity and price == order.price:
            self._shrink(order, quantity, work)
        else:
            self._take_out(order, work)
            order.remaining += quantity - order.quantity
            order.price, order.quantity, order.hidden = price, quantity, 0
            work.events.append(OrderAmended(order.state(), priority_kept=False))
            self._execute(order, order.holding.book, work)

    def _shrink(self, order: Order, quantity: int, work: Work) -> None:
        """A smaller total at the same price: the order keeps its place."""
        level = order.level
        assert level is not None
        less = order.quantity - quantity
        level.quantity -= order.reduce(less)
        order.holding.wait(order.side, -less)
        work.touched.append(level)
        work.events.append(OrderAmended(order.state(), priority_kept=True))

    def _amend_stop(self, command: AmendOrder, order: Order, price: int | None, quantity: int, work: Work) -> None:
        assert order.terms is not None
        book = order.holding.book
        stop_price = order.stop_price if command.stop_price is None else command.stop_price
        keeps_place = stop_price == order.stop_price and quantity <= order.quantity
        if not keeps_place:
            book.stops.remove(order)
        order.remaining += quantity - order.quantity
        order.holding.wait(order.side, quantity - order.quantity)
        order.price, order.quantity = price, quantity
        order.terms = replace(order.terms, stop_price=stop_price)
        work.events.append(OrderAmended(order.state(), keeps_place))
        if not keeps_place:
            self._wait_or_trigger(order, book)

    # Canceling

    def _cancel(self, command: CancelOrder) -> Result:
        order_id, accounts = command.order_id, command.accounts
        order = self._open.get(order_id)
        if order is None or (accounts is not None and not _is_of(order, accounts)):
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        holding, level = order.holding, order.level
        if not holding.book.is_free and holding.book.status is HALTED:
            return Refusal(RejectReason.INSTRUMENT_HALTED, "order_id")
        canceled = OrderCanceled(order.state(), _REQUESTED)
        if level is None:
            holding.book.stops.remove(order)
            self._close_order(order)
            return Outcome((canceled,))
        if order.terms is not None:
            self._forget_expiry(order.terms.expires_at, order_id)
        del self._open[order_id], holding.orders[order_id]
        if holding.waiting is not None:
            holding.waiting[order.side] -= order.remaining
        before, after = order.previous, order.next  # PriceLevel.unlink, in one piece as it happens so often
        if before is None:
            level.head = after
        else:
            before.next = after
        if after is None:
            level.tail = before
        else:
            after.previous = before
        level.quantity -= order.remaining - order.hidden
        if level.head is None:
            level.side.drop(level)
        return Outcome((canceled,), (LevelChanged(holding.symbol, order.side, level.price, level.quantity),))

    def _cancel_orders(self, command: CancelOrders) -> Result:
        if command.symbol is not None:
            book = self._books.get(command.symbol)
            if book is None:
                return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
            if book.status is HALTED:
                return Refusal(RejectReason.INSTRUMENT_HALTED, "symbol")
        orders = [
            order
            for order in self._open_orders_of(command.accounts)
            if command.symbol in (None, order.symbol)
            and command.side in (None, order.side)
            and order.holding.book.status is not HALTED
        ]
        return self._cancel_together(orders, _REQUESTED, self._work, OrdersCanceled(len(orders)))

    def _open_orders_of(self, accounts: tuple[str, ...] | None) -> Iterator[Order]:
        if accounts is None:
            yield from self._open.values()
            return
        for name in dict.fromkeys(accounts):
            if (account := self._accounts.get(name)) is not None:
                yield from account.orders

    def _cancel_together(
        self, orders: Iterable[Order], reason: CancelReason, work: Work, announcement: Event | None = None
    ) -> Outcome:
        """Cancel the orders by their ids, the rest of them with the next Continue when they are too many."""
        self._cancelations.append(Cancelation(sorted(orders, key=_order_id), reason, announcement))
        return self._finish(work)

    def _run_cancelations(self, work: Work) -> None:
        while self._cancelations and len(work.events) < MAX_EVENTS:
            job = self._cancelations[0]
            if job.announcement is not None:
                work.events.append(job.announcement)
                job.announcement = None
            while job.orders and len(work.events) < MAX_EVENTS:
                self._cancel_order(job.orders.popleft(), job.reason, work)
            if not job.orders:
                self._cancelations.popleft()

    # All or nothing

    def _all_or_nothing(self, command: AllOrNothing, time: int, sequence: int) -> Result:
        items = command.items
        if not 1 <= len(items) <= MAX_COMMANDS:
            return Refusal(RejectReason.INVALID_BATCH, "items")
        if not_done := refuse_conflicts(items) or self._repeated_batch(items):
            return not_done
        batch = Batch(items, self._open)
        for number, item in enumerate(items):
            if refusal := self._refuse_item(item, time, batch):
                return replace(refusal, item=number)
        work = self._work
        work.traded = {}
        for number, item in batch.in_order():
            work.events.append(ItemStarted(number))
            self._carry_out_item(item, time, sequence, work)
        self._triggered = deque((order, order.holding.book.last_trade_id) for order, _ in self._triggered)
        self._collect_triggered(work)
        if self._triggered:
            work.events.append(ItemStarted(len(items)))
        return self._finish(work)

    def _repeated_batch(self, items: tuple[OrderCommand, ...]) -> Repeated | None:
        """The whole batch is known when every order in it is, by its client order id."""
        first: Repeated | None = None
        for item in items:
            if isinstance(item, PlaceOrder):
                known = self._known(item)
                if not isinstance(known, Repeated):
                    return None
                first = first or known
        return first

    def _refuse_item(self, item: OrderCommand, time: int, batch: Batch) -> Refusal | None:
        if isinstance(item, PlaceOrder):
            return self._refuse_place_item(item, time, batch)
        order = self._find(item.order_id, item.accounts)
        if order is None:
            return Refusal(RejectReason.UNKNOWN_ORDER, "order_id")
        if isinstance(item, CancelOrder):
            is_halted = order.holding.book.status is HALTED
            return Refusal(RejectReason.INSTRUMENT_HALTED, "order_id") if is_halted else None
        return self._refuse_amend(item, order) or self._refuse_amended_in_batch(item, order, batch)

    def _refuse_place_item(self, item: PlaceOrder, time: int, batch: Batch) -> Refusal | None:
        book = self._books.get(item.symbol)
        if book is None:
            return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if known := self._known(item):
            return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", known.order_id)
        if refusal := self._refuse_place(item, book, time, batch):
            return refusal
        batch.place(item, _expected_quantity(item, book) or 0)
        rests = item.type is LIMIT and item.time_in_force in checks.RESTING_TIMES
        if rests and item.price is not None and batch.crosses_itself(item.symbol, item.side, item.price):
            return checks.refuse_to_trade(item.post_only, book, "post_only", "symbol")
        return None

    def _refuse_amended_in_batch(self, item: AmendOrder, order: Order, batch: Batch) -> Refusal | None:
        """What an amendment may not do in a batch: trade, which could leave a later item without its order."""
        book = order.holding.book
        if item.quantity is not None and item.quantity <= order.filled:
            return None
        if item.stop_price is not None and book.has_reached(order.side, item.stop_price):
            return Refusal(RejectReason.AMENDMENT_WOULD_TRADE, "stop_price")
        if item.price is None or order.waits_for_trigger:
            return None
        if book.makers(order.side).reaches(item.price):
            return Refusal(RejectReason.AMENDMENT_WOULD_TRADE, "price")
        if batch.crosses_itself(order.symbol, order.side, item.price):
            return checks.refuse_to_trade(order.post_only, book, "price", "price")
        return None

    def _carry_out_item(self, item: OrderCommand, time: int, sequence: int, work: Work) -> None:
        """An item for an order that an earlier item has filled does nothing."""
        if isinstance(item, PlaceOrder):
            self._accept(item, self._books[item.symbol], time, sequence, work)
        elif (order := self._open.get(item.order_id)) is None:
            return
        elif isinstance(item, CancelOrder):
            self._cancel_order(order, _REQUESTED, work)
        else:
            self._carry_out_amendment(item, order, work)

    # Time

    def _advance_clock(self, time: int) -> Outcome:
        due = {order.order_id: order for order in sorted(self._expiries.down_to(-time), key=_expiry)}
        if due:
            self._cancelations.append(Cancelation(due.values(), CancelReason.EXPIRED))
        for account in sorted(self._deadlines.down_to(-time), key=_deadline):
            self._disarm(account)
            others = [order for order in account.orders if order.order_id not in due]
            announcement = CancelAllElapsed(account.name)
            orders = sorted(others, key=_order_id)
            self._cancelations.append(Cancelation(orders, CancelReason.DEAD_MANS_SWITCH, announcement))
        return self._finish(self._work)

    def _cancel_all_after(self, command: CancelAllAfter, time: int) -> Result:
        if not checks.is_name(command.account):
            return Refusal(RejectReason.INVALID_ACCOUNT, "account")
        if not 0 <= command.delay <= MAX_DELAY:
            return Refusal(RejectReason.INVALID_DELAY, "delay")
        account = self._accounts.get(command.account)
        if account is not None:
            self._disarm(account)
        deadline = time + command.delay if command.delay else None
        if deadline is not None:
            account = account or self._account(command.account)
            account.deadline = deadline
            self._deadlines.add(-deadline, account.name, account)
        return Outcome((CancelAllScheduled(command.account, deadline),))

    def _disarm(self, account: Account) -> None:
        if account.deadline is not None:
            self._deadlines.remove(-account.deadline, account.name)
            account.deadline = None

    # Instruments and accounts

    def _define_instrument(self, command: DefineInstrument) -> Result:
        if refusal := checks.refuse_definition(command):
            return refusal
        rules = defined_instrument(command)
        book = self._books.get(command.symbol)
        if book is None:
            self._books[command.symbol] = OrderBook(rules)
        elif book.status is InstrumentStatus.DELISTED:
            return Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")
        elif rules.tick != book.instrument.tick:
            return Refusal(RejectReason.INSTRUMENT_RULES_FIXED, "tick_size")
        elif rules.lot != book.instrument.lot:
            return Refusal(RejectReason.INSTRUMENT_RULES_FIXED, "lot_size")
        else:
            book.rule(defined_instrument(command, book.instrument))
        return Outcome((InstrumentDefined(command.symbol),))

    def _set_instrument_status(self, command: SetInstrumentStatus) -> Result:
        book = self._books.get(command.symbol)
        if book is None:
            return Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if book.status is InstrumentStatus.DELISTED:
            return Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")
        book.rule(replace(book.instrument, status=command.status))
        changed = InstrumentStatusChanged(command.symbol, command.status)
        if command.status is not InstrumentStatus.DELISTED:
            return Outcome((changed,))
        return self._cancel_together([*book, *book.stops], CancelReason.DELISTED, self._work, changed)

    def _set_account_limits(self, command: SetAccountLimits) -> Result:
        if refusal := checks.refuse_account_limits(command, self._books):
            return refusal
        account = self._account(command.account)
        for book in self._books.values():
            if (holding := book.holdings.get(command.account)) is not None:
                holding.limit(None)
        for limits in command.symbols:
            self._holding(self._books[limits.symbol], command.account).limit(limits)
        account.max_open_orders = command.max_open_orders
        account.note_limits()
        return Outcome((AccountLimitsSet(command.account),))

    def _set_kill_switch(self, command: SetKillSwitch) -> Result:
        if not checks.is_name(command.account):
            return Refusal(RejectReason.INVALID_ACCOUNT, "account")
        account = self._account(command.account)
        account.killed = command.engaged
        account.note_limits()
        changed = KillSwitchSet(command.account, command.engaged)
        if not command.engaged:
            return Outcome((changed,))
        return self._cancel_together(account.orders, CancelReason.KILL_SWITCH, self._work, changed)

    # What can be read

    @property
    def resting_orders(self) -> int:
        """Open orders: in a book, or stops that wait."""
        return len(self._open)

    @property
    def size(self) -> int:
        """Open orders and remembered client order ids: what `state_hash` walks over."""
        return len(self._open) + len(self._client_order_ids)

    def symbol_of(self, order_id: int) -> str | None:
        """What an open order is an order for."""
        order = self._open.get(order_id)
        return None if order is None else order.symbol

    def order_id_of(self, account: str, client_order_id: str) -> int | None:
        """The order that a client order id was last used for, as far as the window goes back."""
        first = self._client_order_ids.find(account, client_order_id)
        return None if first is None else first.order_id

    @property
    def instruments(self) -> list[Instrument]:
        """Every listed instrument, by symbol."""
        return [self._books[symbol].instrument for symbol in sorted(self._books)]

    def depth(self, symbol: str, levels: int | None = None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bids and asks as (price, quantity), best first."""
        book = self._books[symbol]
        return book.bids.depth(levels), book.asks.depth(levels)

    def resting(self, symbol: str) -> list[tuple[Side, int, int, int]]:
        """(side, price, order_id, shown quantity) of every order in the book, in priority order, bids first."""
        return [(order.side, order.price or 0, order.order_id, order.shown) for order in self._books[symbol]]

    def stops(self, symbol: str) -> list[tuple[Side, int, int, int]]:
        """(side, stop_price, order_id, quantity) of every stop that waits, buys first, the nearest first."""
        return [
            (order.side, order.stop_price or 0, order.order_id, order.remaining) for order in self._books[symbol].stops
        ]

    def position(self, account: str, symbol: str) -> int:
        """Lots bought less lots sold."""
        holding = self._books[symbol].holdings.get(account)
        return 0 if holding is None else holding.position

    def open_orders(self, account: str) -> list[int]:
        """Ids of the account's open orders, ascending."""
        return sorted(map(_order_id, self._open_orders_of((account,))))

    def state_hash(self) -> bytes:
        """Names the whole state: equal for two engines exactly when they will answer everything alike.

        Costs a walk over every open order and remembered client order id: 1.2 s for a million orders.
        """
        digest, parts = blake2b(digest_size=32), self._state()
        while batch := list(islice(parts, _HASHED_TOGETHER)):
            digest.update(_encode_each(batch))
        return digest.digest()

    def _state(self) -> Iterator[object]:
        yield self._last_order_id, self._last_trade_id
        for symbol in sorted(self._books):
            book = self._books[symbol]
            yield book.instrument, book.last_price, book.last_trade_id
            for side in (book.bids, book.asks):
                for order in side:
                    yield order.state(), order.hidden
            for order in book.stops:
                yield order.state()
            for name in sorted(book.holdings):
                holding = book.holdings[name]
                if holding.position or holding.limits:
                    yield name, holding.position, holding.limits
        for name in sorted(self._accounts):
            account = self._accounts[name]
            if account.killed or account.deadline is not None or account.max_open_orders is not None:
                yield name, account.killed, account.deadline, account.max_open_orders
        for job in self._cancelations:
            yield [order.order_id for order in job.orders], job.reason, job.announcement
        for order, trade_id in self._triggered:
            yield order.state(), trade_id
        yield from self._client_order_ids

    def check(self) -> None:
        """Assert every invariant."""
        found = {order.order_id: order for order, _ in self._triggered}
        for symbol, book in self._books.items():
            book.check()
            for order in (*book, *book.stops):
                assert order.symbol == symbol, "an order in a foreign book"
                assert order.order_id not in found, "an order in two places"
                assert book.holdings[order.holding.account.name] is order.holding, "an order with a foreign holding"
                found[order.order_id] = order
            assert not sum(holding.position for holding in book.holdings.values()), "bought and sold differ"
        assert found == self._open, "the index and the books hold different orders"
        by_account = [order for account in self._accounts.values() for order in account.orders]
        assert {order.order_id: order for order in by_account} == self._open, "an order that its account has not"
        expiring = sorted((order for order in self._open.values() if order.expires_at), key=_expiry)
        assert expiring == sorted(self._expiries, key=_expiry), "an expiry that is not that of an open order"
        armed = sorted((each for each in self._accounts.values() if each.deadline is not None), key=_deadline)
        assert armed == sorted(self._deadlines, key=_deadline), "a deadline that is not that of an account"
        due = [self._expiries.first_key, self._deadlines.first_key]
        assert due == [-_expiry(expiring[0])[0] if expiring else None, -_deadline(armed[0])[0] if armed else None]
        assert len(self._client_order_ids) <= CLIENT_ORDER_ID_WINDOW, "the window of client order ids grew too large"


def _order_id(order: Order) -> int:
    return order.order_id


def _expiry(order: Order) -> tuple[int, int]:
    assert order.expires_at is not None
    return order.expires_at, order.order_id


def _deadline(account: Account) -> tuple[int, str]:
    assert account.deadline is not None
    return account.deadline, account.name


def _encode_each(parts: list[object]) -> memoryview:
    """The encodings of the parts one after the other: those of a list of them, without its head."""
    return memoryview(_state_encoder.encode(parts))[1 if len(parts) < 16 else 3 :]


def _is_of(order: Order, accounts: tuple[str, ...]) -> bool:
    return order.holding.account.name in accounts


def _refuse_limits(command: PlaceOrder, account: Account, book: OrderBook, batch: Batch | None) -> Refusal | None:
    """The limits of an account that has some."""
    if account.max_open_orders is not None:
        open_orders = account.open_orders + (0 if batch is None else batch.change_in_open_orders(account.name))
        if refusal := checks.refuse_open_orders(open_orders, account.max_open_orders):
            return refusal
    holding = book.holdings.get(account.name)
    limits = None if holding is None else holding.limits
    if limits is None:
        return None
    if refusal := checks.refuse_size(command, limits, book):
        return refusal
    quantity = _expected_quantity(command, book)
    if quantity is None:
        return None
    assert holding is not None
    waiting = _waiting_quantity(holding, command.side, batch)
    waiting += 0 if batch is None else batch.placed_quantity(account.name, command.symbol, command.side)
    return checks.refuse_position(command.side, quantity, waiting, holding, limits)


def _expected_quantity(command: PlaceOrder, book: OrderBook) -> int | None:
    """What the order may fill; of an order by notional at the best price, None if there is none."""
    if command.terms is None or command.terms.notional is None:
        return command.quantity
    price = checks.best_price(book, command.side)
    return None if price is None else command.terms.notional // price


def _waiting_quantity(holding: Holding, side: Side, batch: Batch | None) -> int:
    """What the open orders of a holding with limits may still fill, without those that the batch cancels."""
    assert holding.waiting is not None
    return holding.waiting[side] - (0 if batch is None else batch.canceled_quantity(holding, side))


def _can_fill(order: Order, makers: BookSide, limit: int | None, most_makers: int) -> bool:
    """Is there enough for the whole order within the limit, from at most this many makers, own ones left out?"""
    prevention = _NO_PREVENTION if order.terms is None else order.terms.self_trade_prevention
    needed = order.remaining
    for maker, quantity, is_first in makers.slices(limit):
        is_own = prevention is not _NO_PREVENTION and maker.holding is order.holding
        if is_own and prevention is not _CANCEL_OLDEST:
            return False
        if is_own and not is_first:
            continue  # it was canceled at the first meeting
        if not most_makers:
            return False
        most_makers -= 1
        needed -= 0 if is_own else quantity
        if needed <= 0:
            return True
    return False


def _reason_not_to_rest(order: Order, makers: BookSide, is_own_limit: bool) -> CancelReason | None:
    """Why what is left of an order that has done its trading must not rest, if so."""
    if order.price is not None:
        return _IMMEDIATE_OR_CANCEL if order.time_in_force is IOC else None
    if makers.best is None:
        return _NO_LIQUIDITY
    return CancelReason.PROTECTION_PRICE if is_own_limit else CancelReason.PRICE_BAND
