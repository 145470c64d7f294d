"""accounts.<account>.orders on NATS: every update to everyone who listens, and no work where nobody does.

Encoding and publishing each update of each account would cost more than all else the broadcaster does, and mostly
nobody listens. A publisher is not told who does; but a message that asks for an answer is answered by nats-server
itself, with 503, when nobody has received it. So the updates of an account that is not known to have listeners wait, as
they are, for a moment; then the first of them is sent as such a question, and a round trip later it is known whether
the others are wanted. Nothing is left out for someone who was listening before an update happened: it comes a moment
later at most, and at once while listeners are known. Those are asked about again now and then.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice

from nats.aio.msg import Msg

from broadcaster.publishing import Publication, publish
from broadcaster.streams import Update
from contracts.subjects import account_orders
from runtime.nats_client import NatsClient

log = logging.getLogger(__name__)

ASK_SECONDS = 0.05
ASK_AGAIN_SECONDS = 1.0
_ACCOUNTS_AT_ONCE = 1_000
_MOST_WAITING = 200_000
_NO_LISTENERS = "503"
_ANSWER_SECONDS = 2.0
_THAT_IS_ALL = "all"
"""Sent to our own inbox behind the questions: it comes back behind the answers."""


class AccountUpdates:
    """Hand it all updates in order, and publish at once what it gives back. Keep `run` running."""

    def __init__(self, connection: NatsClient) -> None:
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._waiting: dict[str, list[Update]] = {}
        self._waiting_count = 0
        self._listened: set[str] = set()
        self._ask_again: set[str] = set()
        self._questions: dict[str, str] = {}
        self._deaf: set[str] = set()
        self._all_answered = asyncio.Event()
        self._count = 0

    def take(self, updates: Iterable[Update]) -> list[Publication]:
        """The next ones; returns those that are known to be wanted."""
        wanted = []
        for update in updates:
            if update.account in self._listened:
                wanted.append(self._publication(update))
            else:
                self._waiting.setdefault(update.account, []).append(update)
                self._waiting_count += 1
        if self._waiting_count > _MOST_WAITING:
            log.warning("nats: %d order updates were not published: the server is away", self._waiting_count)
            self._waiting.clear()
            self._waiting_count = 0
        return wanted

    def _publication(self, update: Update) -> Publication:
        if update.account not in self._ask_again:
            return Publication(account_orders(update.account), update.text)
        self._ask_again.discard(update.account)
        return self._question(update)

    def _question(self, update: Update) -> Publication:
        """The update, sent so that nats-server says if nobody has received it."""
        self._count += 1
        token = str(self._count)
        self._questions[token] = update.account
        return Publication(account_orders(update.account), update.text, f"{self._inbox}.{token}")

    async def run(self) -> None:
        """Ask who listens, without end."""
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        loop = asyncio.get_running_loop()
        again = loop.time() + ASK_AGAIN_SECONDS
        while True:
            await asyncio.sleep(ASK_SECONDS)
            if self._waiting and self._connection.is_connected:
                await self._ask()
            if loop.time() >= again:
                self._questions.clear()
                self._ask_again = set(self._listened)
                again = loop.time() + ASK_AGAIN_SECONDS

    async def _on_answer(self, message: Msg) -> None:
        """503 from the server; anything else is from a listener that answers, and no matter."""
        token = message.subject.rsplit(".", 1)[-1]
        if token == _THAT_IS_ALL:
            self._all_answered.set()
        account = self._questions.pop(token, None)
        if account is not None and message.headers and message.headers.get("Status") == _NO_LISTENERS:
            self._listened.discard(account)
            self._deaf.add(account)

    async def _ask(self) -> None:
        """Of each account whose updates wait, whether they are wanted. What comes meanwhile waits behind them."""
        asked = {account: self._taken(account) for account in list(islice(self._waiting, _ACCOUNTS_AT_ONCE))}
        self._deaf.clear()
        self._all_answered.clear()
        questions = [self._question(updates[0]) for updates in asked.values()]
        await publish(self._connection, [*questions, Publication(f"{self._inbox}.{_THAT_IS_ALL}", b"")])
        try:
            await asyncio.wait_for(self._all_answered.wait(), _ANSWER_SECONDS)
        except TimeoutError:
            log.info("nats: who listens to order updates is not known; all are published")
        for account, updates in asked.items():
            if account not in self._deaf:
                await self._publish_all(account, updates[1:])

    async def _publish_all(self, account: str, updates: list[Update]) -> None:
        """These, then what waits behind them; from then on they are published as they come."""
        updates += self._taken(account)
        while updates:
            await publish(self._connection, [self._publication(update) for update in updates])
            updates = self._taken(account)
        self._listened.add(account)

    def _taken(self, account: str) -> list[Update]:
        updates = self._waiting.pop(account, [])
        self._waiting_count -= len(updates)
        return updates
