"""Orders that flow without pause to whichever matcher serves, and what their clients were told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from contracts.messages import Outcome, PlaceOrder, RequestRefused, Side
from tests.support.matchers import JournalRead, MatcherClient, Unanswered, order


@dataclass
class Flow:
    """Clients that place orders without pause, each with an id of its own. `answered`: what each was told."""

    client: MatcherClient
    answered: dict[str, Outcome] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    sent: int = 0
    stopping: bool = False

    def assert_all_in(self, journal: JournalRead) -> None:
        """Every answered order is there with the outcome that was answered; none, answered or not, is there twice."""
        placed = journal.outcomes_by_client_order_id()
        assert all(len(found) == 1 for found in placed.values()), "an order was carried out twice"
        assert {name: found[0][1] for name, found in placed.items() if name in self.answered} == self.answered

    async def place_until_stopped(self) -> None:
        while not self.stopping:  # not by canceling: nats-py swallows that now and then
            self.sent += 1
            name = f"c-{self.sent}"
            try:
                reply = await self.client.request([self._next_order(name)], timeout=1)
            except Unanswered:
                continue
            if isinstance(reply, RequestRefused):
                await asyncio.sleep(0.05)
                continue
            ((outcome,),) = (part.results for part in reply.parts)
            assert isinstance(outcome, Outcome)
            self.answered[name] = outcome

    def _next_order(self, name: str) -> PlaceOrder:
        """Both sides around one price, so that some trade and some rest."""
        side = Side.BUY if self.sent % 2 else Side.SELL
        return order(side, 100 + self.sent % 7, 1 + self.sent % 5, name)

    async def until_answered(self, more: int) -> None:
        goal = len(self.answered) + more
        async with asyncio.timeout(60):
            while len(self.answered) < goal:
                assert not any(task.done() for task in self.tasks), self.tasks
                await asyncio.sleep(0.005)


@asynccontextmanager
async def flowing(client: MatcherClient, clients: int = 8) -> AsyncIterator[Flow]:
    flow = Flow(client)
    flow.tasks = [asyncio.create_task(flow.place_until_stopped()) for _ in range(clients)]
    try:
        yield flow
    finally:
        flow.stopping = True
        await asyncio.gather(*flow.tasks)
