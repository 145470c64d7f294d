"""The matcher's whole state as bytes, and back: what a snapshot holds.

Pure. `load(dump(replay))` answers every command to come as `replay` does, byte for byte, also in the middle of work
that one outcome had no room for. A body is a row of parts, each behind its length: a header, the engine apart from what
it has many of, then orders and client order ids, some thousands to a part, so that neither side ever has all of them
twice. Knows the inside of the engine, as nothing else does; what can be derived (indexes, expiries, level totals) is
not kept. The header has the hash of the state, and `load` compares: what was forgotten here would show.

    body := (length: 4 bytes, big-endian; part: MessagePack)*
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
from msgspec import Struct

from contracts.commits import VERSION, Chain
from contracts.messages import CancelReason, Event, OrderState, SymbolLimits
from contracts.views import Instrument
from matcher.book import Order, OrderBook
from matcher.engine import Cancelation, Engine
from matcher.replay import Replay

FORMAT = 1
"""Of what is in a body. A change that older programs would misread raises it."""
_TOGETHER = 8192
_LENGTH = 4


class NotThisState(Exception):
    """These bytes are no state of a matcher that this program can go on with; the message says why."""


class _Part(Struct, frozen=True, array_like=True, gc=False, tag_field="kind"):
    """As with messages: new fields come last and have defaults."""


class Header(_Part, frozen=True, tag="header"):
    """After which commit it was taken, and what must come out when it is loaded.

    `journal_version`: of commits, as the program writes them that took it. State hashes mean the same only within one.
    """

    journal_version: int
    sequence: int
    hash: bytes
    journal_epoch: str | None
    matcher_epoch: int
    time: int
    state_hash: bytes
    open_orders: int
    client_order_ids: int


class SavedHolding(Struct, frozen=True, array_like=True, gc=False):
    account: str
    position: int
    limits: SymbolLimits | None


class SavedBook(Struct, frozen=True, array_like=True, gc=False):
    instrument: Instrument
    last_price: int | None
    last_trade_id: int
    holdings: tuple[SavedHolding, ...]


class SavedAccount(Struct, frozen=True, array_like=True, gc=False):
    name: str
    killed: bool
    deadline: int | None
    max_open_orders: int | None


class SavedCancelation(Struct, frozen=True, array_like=True, gc=False):
    order_ids: tuple[int, ...]
    reason: CancelReason
    announcement: Event | None


class Core(_Part, frozen=True, tag="core"):
    """All that there is little of."""

    last_order_id: int
    last_trade_id: int
    books: tuple[SavedBook, ...]
    accounts: tuple[SavedAccount, ...]
    cancelations: tuple[SavedCancelation, ...]


Row = tuple[OrderState, int]


class Resting(_Part, frozen=True, tag="resting"):
    """Orders in a book with what each hides, in the order in which they would trade, after those of parts before."""

    orders: list[Row]


class Waiting(_Part, frozen=True, tag="waiting"):
    """Stops that no trade has reached, the next after those of the parts before."""

    orders: list[Row]


class Triggered(_Part, frozen=True, tag="triggered"):
    """Stops that were reached and are still to be carried out, in that order, each with the latest trade then."""

    orders: list[Row]


class UsedIds(_Part, frozen=True, tag="client_order_ids"):
    keys: list[str]
    uses: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header | Core | Resting | Waiting | Triggered | UsedIds)


def dump(replay: Replay) -> bytes:
    """Costs a walk over everything, and its hash: about 4 s for a million orders."""
    return b"".join(dump_parts(replay))


def dump_parts(replay: Replay) -> Iterator[bytes]:
    """The same, piece by piece. The replay must stay as it is meanwhile."""
    yield _framed(_encoder.encode(_header(replay)))
    yield _framed(_encoder.encode(_core(replay.engine)))
    for kind, rows in _rows(replay.engine):
        # A tuple of a tuple of fields is encoded to the bytes of the struct, and takes a fraction of the time to make.
        yield from (_framed(_encoder.encode((kind, some))) for some in _by_thousands(rows))
    for keys, uses in replay.engine._client_order_ids.dump(_TOGETHER):
        yield _framed(_encoder.encode(UsedIds(keys, uses)))


def load(body: bytes | memoryview) -> Replay:
    """What was dumped. Raises NotThisState."""
    parts = _read(body)
    header = next(parts, None)
    if not isinstance(header, Header):
        raise NotThisState("it does not begin with a header")
    if header.journal_version != VERSION:
        raise NotThisState(f"it is of journal version {header.journal_version}, this program writes {VERSION}")
    replay = Replay()
    try:
        _restore(replay.engine, parts)
    except (LookupError, ValueError, AssertionError) as error:
        raise NotThisState(f"it contradicts itself ({type(error).__name__}: {error})") from error
    replay.chain = Chain(header.sequence, header.hash, header.journal_epoch, header.matcher_epoch, header.time)
    _check(header, replay.engine)
    return replay


# Out


def _header(replay: Replay) -> Header:
    chain, engine = replay.chain, replay.engine
    return Header(
        journal_version=VERSION,
        sequence=chain.sequence,
        hash=chain.hash,
        journal_epoch=chain.journal_epoch,
        matcher_epoch=chain.matcher_epoch,
        time=chain.time,
        state_hash=engine.state_hash(),
        open_orders=engine.resting_orders,
        client_order_ids=len(engine._client_order_ids),
    )


def _core(engine: Engine) -> Core:
    accounts = engine._accounts.values()
    jobs = engine._cancelations
    return Core(
        engine._last_order_id,
        engine._last_trade_id,
        tuple(_saved_book(book) for book in engine._books.values()),
        tuple(SavedAccount(each.name, each.killed, each.deadline, each.max_open_orders) for each in accounts),
        tuple(
            SavedCancelation(tuple(order.order_id for order in job.orders), job.reason, job.announcement)
            for job in jobs
        ),
    )


def _saved_book(book: OrderBook) -> SavedBook:
    holdings = book.holdings.items()
    return SavedBook(
        book.instrument,
        book.last_price,
        book.last_trade_id,
        tuple(SavedHolding(name, holding.position, holding.limits) for name, holding in holdings),
    )


def _rows(engine: Engine) -> Iterator[tuple[str, Iterator[object]]]:
    for book in engine._books.values():
        yield "resting", ((order.state(), order.hidden) for order in book)
        yield "waiting", ((order.state(), 0) for order in book.stops)
    yield "triggered", ((order.state(), trade_id) for order, trade_id in engine._triggered)


def _by_thousands(rows: Iterator[object]) -> Iterator[list[object]]:
    while some := list(islice(rows, _TOGETHER)):
        yield some


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(_LENGTH, "big") + part


# In


def _read(body: bytes | memoryview) -> Iterator[_Part]:
    view, place = memoryview(body), 0
    while place < len(view):
        begin = place + _LENGTH
        place = begin + int.from_bytes(view[place:begin], "big")
        if place > len(view):
            raise NotThisState("it ends in the middle of a part")
        try:
            yield _decoder.decode(view[begin:place])
        except (msgspec.MsgspecError, ValueError) as error:
            raise NotThisState(f"it has a part that cannot be read ({error})") from error


def _restore(engine: Engine, parts: Iterable[_Part]) -> None:
    jobs: tuple[SavedCancelation, ...] = ()
    for part in parts:
        match part:
            case Core():
                assert not engine._accounts, "a second core"
                assert not engine._books, "a second core"
                _restore_core(engine, part)
                jobs = part.cancelations
            case Resting():
                for order in _restore_orders(engine, part.orders):
                    assert order.price is not None, "an order in a book without a price"
                    order.holding.book.own(order.side).add(order, order.price)
            case Waiting():
                for order in _restore_orders(engine, part.orders):
                    order.holding.book.stops.add(order)
            case Triggered():
                orders = _restore_orders(engine, [(state, 0) for state, _ in part.orders])
                trade_ids = [trade_id for _, trade_id in part.orders]
                engine._triggered.extend(zip(orders, trade_ids, strict=True))
            case UsedIds():
                engine._client_order_ids.load(part.keys, part.uses)
            case _:
                raise NotThisState("it has a second header")
    for job in jobs:
        orders = [engine._open[order_id] for order_id in job.order_ids]
        engine._cancelations.append(Cancelation(orders, job.reason, job.announcement))
    for book in engine._books.values():
        for holding in book.holdings.values():
            holding.limit(holding.limits)  # it counts the orders that have come back
    for account in engine._accounts.values():
        account.note_limits()
    engine.unfinished = bool(engine._cancelations or engine._triggered)


def _restore_core(engine: Engine, core: Core) -> None:
    engine._last_order_id, engine._last_trade_id = core.last_order_id, core.last_trade_id
    for saved in core.accounts:
        account = engine._account(saved.name)
        account.killed, account.deadline = saved.killed, saved.deadline
        account.max_open_orders = saved.max_open_orders
        if saved.deadline is not None:
            engine._deadlines.add(-saved.deadline, saved.name, account)
    for each in core.books:
        _restore_book(engine, each)


def _restore_book(engine: Engine, saved: SavedBook) -> None:
    book = engine._books[saved.instrument.symbol] = OrderBook(saved.instrument)
    book.last_price, book.last_trade_id = saved.last_price, saved.last_trade_id
    for each in saved.holdings:
        holding = engine._holding(book, each.account)
        holding.position, holding.limits = each.position, each.limits


def _restore_orders(engine: Engine, rows: list[Row]) -> list[Order]:
    """Open again, and on their way to where they were."""
    restored = []
    opened, books = engine._open, engine._books
    for state, hidden in rows:
        holding = books[state.symbol].holdings[state.account]
        assert state.order_id not in opened, "an order in two places"
        order = Order.restored(state, hidden, holding)
        opened[order.order_id] = holding.orders[order.order_id] = order
        if state.terms is not None and state.terms.expires_at is not None:
            engine._expiries.add(-state.terms.expires_at, state.order_id, order)
        restored.append(order)
    return restored


def _check(header: Header, engine: Engine) -> None:
    if engine.resting_orders != header.open_orders:
        raise NotThisState(f"it holds {engine.resting_orders} open orders, its header says {header.open_orders}")
    if len(engine._client_order_ids) != header.client_order_ids:
        raise NotThisState("it does not hold as many client order ids as its header says")
    if engine.state_hash() != header.state_hash:
        raise NotThisState("its state has another hash than the one that was dumped")
