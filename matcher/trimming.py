"""Trimming the journal: its oldest commits leave the stream once nobody needs them there (docs/decisions/0023).

What is trimmed must be below a verified snapshot of the matcher, and proved to be in Postgres, whole and for good; and
a tail of `journal_keep_commits` always stays. It goes in small steps, because while nats-server purges it stores
nothing. A power cut may bring trimmed commits back: the next round trims them again.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StreamState

from contracts.commits import HASH_SIZE
from contracts.subjects import JOURNAL_STREAM, RECORDER_HOLDS, RECORDER_STATUS
from runtime.journal import journal_state
from runtime.micro import is_failure
from runtime.settings import Settings

log = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
STEP_BYTES = 4 * 1024 * 1024
_STEP_PAUSE_SECONDS = 0.25
_ANSWER_SECONDS = 35.0


class CannotTrim(Exception):
    """Not now; the message says why. Nothing is lost by waiting."""


async def trim_forever(
    connection: Client,
    settings: Settings,
    oldest_snapshot: Callable[[], int | None],
    confirm: Callable[[], Awaitable[None]],
) -> None:
    """Run by the leader beside its commits, without end: `first_of(..., trim_forever(...))`.

    `oldest_snapshot`: the sequence of the oldest snapshot that is kept and verified, None if there is none; asked anew
    each round. `confirm`: returns once it is certain that this is still the sole matcher (Matcher.confirm).
    Never raises what NATS, the recorder or Postgres do wrong: it says so, once, and tries again.
    """
    said = ""
    while settings.journal_keep_commits:
        try:
            await trim(connection, settings.journal_keep_commits, oldest_snapshot(), confirm)
            said = ""
        except (CannotTrim, NatsError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            if why != said:
                log.warning("the journal is not trimmed: %s", why)
            said = why
        await asyncio.sleep(ROUND_SECONDS)
    await asyncio.Event().wait()


async def trim(connection: Client, keep: int, snapshot: int | None, confirm: Callable[[], Awaitable[None]]) -> None:
    """One round: as much as may go. Raises CannotTrim, NatsError or TimeoutError."""
    state = await journal_state(connection)
    if snapshot is None or not state.messages:
        return
    recorded = (await _ask(connection, RECORDER_STATUS, {}))["sequence"]
    bound = first_kept(state, keep, snapshot=snapshot, recorded=recorded)
    if bound - state.first_seq < keep // 10:
        return
    await _compare(connection, bound)
    step = max(1, STEP_BYTES * state.messages // max(state.bytes, 1))
    first = state.first_seq
    while first < bound:
        last = min(bound, first + step) - 1
        await _prove(connection, first, last)
        await confirm()
        await _purge(connection, last + 1)
        first = last + 1
        await asyncio.sleep(_STEP_PAUSE_SECONDS)
    log.info("the journal is trimmed: it begins at %d and reaches to %d or more", first, state.last_seq)


def first_kept(state: StreamState, keep: int, *, snapshot: int, recorded: int) -> int:
    """The first sequence that must stay: the snapshot's own commit, Postgres's last one, or the first of the tail."""
    return max(min(snapshot, recorded, state.last_seq - keep + 1), state.first_seq)


async def _compare(connection: Client, sequence: int) -> None:
    """Postgres's commit is the journal's: so are all before it that Postgres has, as its hash vouches for them."""
    message = await connection.jsm().get_msg(JOURNAL_STREAM, sequence)
    if (message.data or b"")[:HASH_SIZE].hex() != await _prove(connection, sequence, sequence):
        raise CannotTrim(f"commit {sequence} is another one in Postgres; `pricetime verify` shows what differs")


async def _prove(connection: Client, first: int, last: int) -> object:
    """Postgres has first..last, each whole and the next of the one before it, for good. Returns the last one's hash.

    The stream need not have them: a power cut may have brought some of what was trimmed back, and not all.
    """
    answer = await _ask(connection, RECORDER_HOLDS, {"from": first, "to": last})
    if not answer["durable"]:
        raise CannotTrim("Postgres may forget what it committed: set fsync, full_page_writes, synchronous_commit to on")
    if not answer["whole"]:
        raise CannotTrim(
            f"Postgres does not hold commits {first} to {last} undamaged (table journal_commits): stop, and run "
            "`pricetime rebuild postgres`"
        )
    return answer["hash"]


async def _purge(connection: Client, first_left: int) -> None:
    question = json.dumps({"seq": first_left}).encode()
    reply = await connection.request(f"$JS.API.STREAM.PURGE.{JOURNAL_STREAM}", question, timeout=_ANSWER_SECONDS)
    if error := json.loads(reply.data).get("error"):
        raise CannotTrim(f"nats-server answers {error.get('description', error)}")


async def _ask(connection: Client, subject: str, question: dict[str, int]) -> dict[str, Any]:
    try:
        reply = await connection.request(subject, json.dumps(question).encode(), timeout=_ANSWER_SECONDS)
    except (NatsError, TimeoutError) as error:
        raise CannotTrim(f"the recorder does not answer ({str(error) or type(error).__name__})") from error
    if is_failure(reply):
        raise CannotTrim(f"the recorder answers {reply.data.decode(errors='replace')[:300]}")
    answer: dict[str, Any] = json.loads(reply.data)
    return answer
