"""How commands share requests. What happens to the requests is in test_app.py, over HTTP."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from contracts.messages import MAX_COMMANDS, CancelOrder, ClientCommand, OrderType, PlaceOrder, Side
from entry.matcher_client import _Waiting, batches

PLACE = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=6))
def test_every_command_is_in_one_request_of_its_kind(runs: list[tuple[bool, int]]) -> None:
    commands: list[ClientCommand] = [
        CancelOrder(number) if cancel else PLACE for cancel, count in runs for number in range(count)
    ]
    loop = asyncio.new_event_loop()
    pending = [_Waiting(command, loop.create_future(), 0) for command in commands]
    loop.close()
    requests = list(batches(pending))
    for request in requests:
        assert 0 < len(request) <= MAX_COMMANDS
        assert len({type(waiting.command) for waiting in request}) == 1
    sent = [waiting for request in requests for waiting in request]
    cancels = [waiting for waiting in pending if isinstance(waiting.command, CancelOrder)]
    assert sent[: len(cancels)] == cancels
    assert sent[len(cancels) :] == [waiting for waiting in pending if not isinstance(waiting.command, CancelOrder)]
