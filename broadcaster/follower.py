"""Follows the journal: folds each commit, hands its trades to the WebSocket clients and to the public NATS subjects.

Up to the journal's end as it was at the start it folds only: those trades are history, and whoever wants them asks
for them. Each second the books are shown.
"""

import asyncio
import logging
from collections.abc import Iterator

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import OutboundBufferLimitError
from nats.js.errors import NotFoundError

from broadcaster.live import Live
from contracts.subjects import market_book, market_trades
from runtime.journal import JournalReader, journal_state

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
BOOK_SECONDS = 1.0
BOOK_LEVELS = 5
ALWAYS_SHOWN_SYMBOLS = 100
"""With more symbols than this, NATS gets the books that changed; with up to this many, all of them each second."""
_SLICE_BYTES = 256 * 1024
_PROGRESS_COMMITS = 100_000

_encoder = msgspec.json.Encoder()


async def follow(live: Live, connection: Client) -> None:
    """Without end. Raises JournalBroken at the first commit that does not fit."""
    end = await _journal_end(connection)
    if end > live.position.sequence:
        log.info("catching up: commits %d to %d", live.position.sequence + 1, end)
    async with JournalReader(connection, live.position.sequence + 1) as reader:
        if live.position.sequence >= end:
            _open(live)
        async for received in reader:
            for part in _slices(received):
                await _take(live, connection, part, end)
                await asyncio.sleep(0)  # let the clients' sockets, and those who ask, have their turn


async def _journal_end(connection: Client) -> int:
    """The last sequence; waits for the matcher to create the journal."""
    while True:
        try:
            return (await journal_state(connection)).last_seq
        except NotFoundError:
            await asyncio.sleep(0.1)
        except (NatsError, TimeoutError) as error:
            log.warning("journal: no answer yet (%s)", error or type(error).__name__)
            await asyncio.sleep(0.2)


async def refresh(live: Live, connection: Client) -> None:
    """Return when all that is committed now has been folded; the wait is bounded."""
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            end = (await journal_state(connection)).last_seq
            await live.reach(end, REFRESH_SECONDS)
    except (NatsError, TimeoutError) as error:
        log.info("showing what is at hand: the journal does not answer (%s)", error or type(error).__name__)


def _slices(received: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Runs of messages of a size that is folded in a few milliseconds."""
    part: list[tuple[int, bytes]] = []
    size = 0
    for item in received:
        part.append(item)
        size += len(item[1])
        if size >= _SLICE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


async def _take(live: Live, connection: Client, part: list[tuple[int, bytes]], end: int) -> None:
    """Fold a run of commits; once caught up, show their trades."""
    trades = []
    for sequence, payload in part:
        folded = live.fold(sequence, payload)
        if live.caught_up.is_set():
            trades += folded
        elif sequence >= end:
            _open(live)
        elif sequence % _PROGRESS_COMMITS == 0:
            log.info("catching up: commit %d of %d", sequence, end)
    live.passed()
    if trades:
        encoded = live.encoded(trades)
        live.trades.publish(encoded)
        await asyncio.sleep(0)  # the clients' sockets first: publishing takes longer
        await _publish_trades(connection, encoded)


def _open(live: Live) -> None:
    live.open()
    log.info("live after commit %d, trade %d", live.position.sequence, live.market.last_trade_id)


async def _publish_trades(connection: Client, encoded: list[tuple[str, bytes]]) -> None:
    try:
        for symbol, text in encoded:
            await connection.publish(market_trades(symbol), text)
    except OutboundBufferLimitError:
        # The server is away and the buffer is full: subscribers see the jump in `sequence` and read GET /trades.
        log.warning("nats: some trades were not published")


async def show_books(live: Live, connection: Client) -> None:
    """Each second, to the WebSocket clients and to NATS."""
    await live.caught_up.wait()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        live.depths.publish()
        if connection.is_connected:  # what is published while disconnected would arrive late, and be wrong by then
            for symbol in _to_show(live):
                book = _encoder.encode(live.depth(symbol, BOOK_LEVELS))
                await connection.publish(market_book(symbol), book)
        due = max(due + BOOK_SECONDS, loop.time())
        await asyncio.sleep(due - loop.time())


def _to_show(live: Live) -> list[str]:
    market = live.market
    changed, market.changed = market.changed, set()
    symbols = market.symbols
    return symbols if len(symbols) <= ALWAYS_SHOWN_SYMBOLS else sorted(changed)
