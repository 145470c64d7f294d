"""Follows the journal: folds each commit, hands what it brings to the WebSocket clients and to NATS.

Up to the journal's end as it was at the start it folds only: that is history, and whoever wants it asks for it. Books,
tickers and candles are shown at intervals.
"""

import asyncio
import logging
from collections.abc import Iterator
from itertools import chain

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from broadcaster.account_updates import AccountUpdates
from broadcaster.feed import frame
from broadcaster.live import SYMBOLS_AT_ONCE, Live
from broadcaster.market import News
from broadcaster.messages import heartbeat
from broadcaster.publishing import publish
from contracts.subjects import market_book
from runtime.clock import now
from runtime.journal import JournalReader, journal_state
from runtime.nats_client import NatsClient

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
BOOK_SECONDS = 1.0
TICKERS_PER_SECOND = 10
BOOK_LEVELS = 5
ALWAYS_SHOWN_SYMBOLS = 100
"""With more symbols than this, NATS gets the books that changed; with up to this many, all of them each second."""
_SLICE_BYTES = 256 * 1024
_PAUSE_SECONDS_PER_COMMIT = 0.001  # docs/decisions/0020
_LONGEST_PAUSE_SECONDS = 0.005
_PROGRESS_COMMITS = 100_000

_encoder = msgspec.json.Encoder()


async def follow(live: Live, connection: NatsClient, accounts: AccountUpdates) -> None:
    """Without end. Raises JournalBroken at the first commit that does not fit."""
    end = await _journal_end(connection)
    if end > live.position.sequence:
        log.info("catching up: commits %d to %d", live.position.sequence + 1, end)
    async with JournalReader(connection, live.position.sequence + 1) as reader:
        if live.position.sequence >= end:
            _open(live)
        async for received in reader:
            for part in _slices(received):
                await _take(live, connection, accounts, part, end)
                # Let the clients' sockets, and those who ask, have their turn; and when commits come fast, more of
                # them gather meanwhile: fewer runs, at little delay. A lone commit is hardly delayed.
                await asyncio.sleep(min(len(part) * _PAUSE_SECONDS_PER_COMMIT, _LONGEST_PAUSE_SECONDS))


async def _journal_end(connection: NatsClient) -> int:
    """The last sequence; waits for the matcher to create the journal."""
    while True:
        try:
            return (await journal_state(connection)).last_seq
        except NotFoundError:
            await asyncio.sleep(0.1)
        except (NatsError, TimeoutError) as error:
            log.warning("journal: no answer yet (%s)", error or type(error).__name__)
            await asyncio.sleep(0.2)


async def refresh(live: Live, connection: NatsClient) -> None:
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


async def _take(
    live: Live, connection: NatsClient, accounts: AccountUpdates, part: list[tuple[int, bytes]], end: int
) -> None:
    """Fold a run of commits; once caught up, show what they bring."""
    news = News()
    for sequence, payload in part:
        if live.caught_up.is_set():
            live.fold(sequence, payload, news)
            continue
        live.fold(sequence, payload)
        if sequence >= end:
            _open(live)
        elif sequence % _PROGRESS_COMMITS == 0:
            log.info("catching up: commit %d of %d", sequence, end)
    publications, updates = live.publish(news) if news else ([], [])  # at once: the books must not move on before it
    live.passed()
    if live.delays is not None and live.caught_up.is_set():
        live.delays.observe(max(now() - live.position.time, 0) / 1e6)
    publications += accounts.take(updates)
    if publications:
        await asyncio.sleep(0)  # the clients' sockets first: publishing takes longer
        await publish(connection, publications)


def _open(live: Live) -> None:
    live.open()
    log.info("live after commit %d, trade %d", live.position.sequence, live.market.last_trade_id)


async def show_books(live: Live, connection: NatsClient) -> None:
    """Each second, to the WebSocket clients and to NATS."""
    await live.caught_up.wait()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        live.depths.publish()
        if connection.is_connected:  # what is published while disconnected would arrive late, and be wrong by then
            for number, symbol in enumerate(_to_show(live), 1):
                book = _encoder.encode(live.depth(symbol, BOOK_LEVELS))
                await connection.publish(market_book(symbol), book)
                if number % SYMBOLS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # with thousands of symbols, what is new must not wait for all of them
        due = max(due + BOOK_SECONDS, loop.time())
        await asyncio.sleep(due - loop.time())


def _to_show(live: Live) -> list[str]:
    market = live.market
    changed, market.changed = market.changed, set()
    symbols = market.symbols
    return symbols if len(symbols) <= ALWAYS_SHOWN_SYMBOLS else sorted(changed)


async def show_tickers_and_candles(live: Live, connection: NatsClient) -> None:
    """Tickers ten times a second to the clients; those that changed each second to NATS, and candles to both."""
    await live.caught_up.wait()
    loop = asyncio.get_running_loop()
    due = loop.time()
    turn = 0
    while True:
        for _ in live.show_tickers():
            await asyncio.sleep(0)
        if turn % TICKERS_PER_SECOND == 0:
            for publications in chain(live.show_candles(), live.tickers_for_nats()):
                if connection.is_connected:
                    await publish(connection, publications)
                await asyncio.sleep(0)
        turn += 1
        due = max(due + 1 / TICKERS_PER_SECOND, loop.time())
        await asyncio.sleep(due - loop.time())


async def beat(live: Live, seconds: float) -> None:
    """Tell every client of /ws, again and again, that it is alive and how far it is."""
    await live.caught_up.wait()
    while True:
        encoded = frame(heartbeat(now(), live.position.sequence))
        for session in list(live.sessions):
            session.beat(encoded)
        await asyncio.sleep(seconds)
