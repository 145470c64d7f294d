"""Orders, as the clients and their streams have them: the same methods, over REST or over a WebSocket connection."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TypeVar, Unpack

from pricetime_client import fields as given
from pricetime_client.asking import Came, Conversation, Step
from pricetime_client.calls import Calls
from pricetime_client.transport import new_name
from pricetime_client.views import BatchResult, Canceled, DeadMansSwitch, Order

S = TypeVar("S")
T = TypeVar("T")


def held(conversation: Generator[S, Came, T], do: Callable[[S], Came]) -> T:
    """What the conversation comes to, when each of its steps is done."""
    came: Came = None
    while True:
        try:
            step = conversation.send(came)
        except StopIteration as end:
            found: T = end.value
            return found
        came = do(step)


async def held_in_loop(conversation: Generator[S, Came, T], do: Callable[[S], Awaitable[Came]]) -> T:
    """The same without blocking."""
    came: Came = None
    while True:
        try:
            step = conversation.send(came)
        except StopIteration as end:
            found: T = end.value
            return found
        came = await do(step)


class AsyncOrders:
    """`_orders`: the conversations. `_do`: how a step of one is taken."""

    _orders: Calls

    async def place(self, **order: Unpack[given.OrderFields]) -> Order:
        """Place an order, once, however often it has to be sent. Without `type` it is a limit order."""
        return await self._hold(self._orders.place(order, new_name()))

    async def amend(
        self, order: int | str, *, account: str | None = None, **changes: Unpack[given.AmendFields]
    ) -> Order:
        """`order`: its order_id, or its client_order_id. `quantity` is the new total, fills included."""
        return await self._hold(self._orders.amend(order, changes, account))

    async def cancel(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return await self._hold(self._orders.cancel(order, account))

    async def cancel_all(self, **filters: Unpack[given.CancelAllFilters]) -> Canceled:
        """Repeated like all others: it may meet what was placed while its answer was on the way."""
        return await self._hold(self._orders.cancel_all(filters))

    async def batch(self, items: Sequence[given.BatchItem], *, all_or_nothing: bool = False) -> list[BatchResult]:
        """Up to 500 items such as {"place": {...}}, {"amend": {...}}, {"cancel": {"order_id": 7}}, in this order."""
        names = [new_name() for _ in items]
        return await self._hold(self._orders.batch(items, names, all_or_nothing=all_or_nothing))

    async def cancel_all_after(self, seconds: given.Number, *, account: str | None = None) -> DeadMansSwitch:
        """Every order of the account is canceled unless this is called again in time; 0 disarms it."""
        return await self._hold(self._orders.cancel_all_after(seconds, account))

    async def _hold(self, conversation: Conversation[T]) -> T:
        return await held_in_loop(conversation, self._do)

    async def _do(self, step: Step) -> Came:
        raise NotImplementedError


class Orders:
    """The same, blocking."""

    _orders: Calls

    def place(self, **order: Unpack[given.OrderFields]) -> Order:
        """Place an order, once, however often it has to be sent. Without `type` it is a limit order."""
        return self._hold(self._orders.place(order, new_name()))

    def amend(self, order: int | str, *, account: str | None = None, **changes: Unpack[given.AmendFields]) -> Order:
        """`order`: its order_id, or its client_order_id. `quantity` is the new total, fills included."""
        return self._hold(self._orders.amend(order, changes, account))

    def cancel(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return self._hold(self._orders.cancel(order, account))

    def cancel_all(self, **filters: Unpack[given.CancelAllFilters]) -> Canceled:
        """Repeated like all others: it may meet what was placed while its answer was on the way."""
        return self._hold(self._orders.cancel_all(filters))

    def batch(self, items: Sequence[given.BatchItem], *, all_or_nothing: bool = False) -> list[BatchResult]:
        """Up to 500 items such as {"place": {...}}, {"amend": {...}}, {"cancel": {"order_id": 7}}, in this order."""
        names = [new_name() for _ in items]
        return self._hold(self._orders.batch(items, names, all_or_nothing=all_or_nothing))

    def cancel_all_after(self, seconds: given.Number, *, account: str | None = None) -> DeadMansSwitch:
        """Every order of the account is canceled unless this is called again in time; 0 disarms it."""
        return self._hold(self._orders.cancel_all_after(seconds, account))

    def _hold(self, conversation: Conversation[T]) -> T:
        return held(conversation, self._do)

    def _do(self, step: Step) -> Came:
        raise NotImplementedError
