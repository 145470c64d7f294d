import asyncio
import time

from bench.load import closed_loop, open_loop
from bench.processor import CLIENT, Processors


async def test_a_closed_loop_keeps_so_many_in_flight_and_sends_in_order() -> None:
    sent: list[bytes] = []
    in_flight = most = 0

    async def ask(payload: bytes) -> bytes:
        nonlocal in_flight, most
        sent.append(payload)
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return payload + b"!"

    payloads = [b"%d" % number for number in range(20)]
    load = await closed_loop(ask, payloads, 4)
    assert sent == payloads
    assert load.answers == [payload + b"!" for payload in payloads]
    assert most == 4
    assert len(load.latencies) == 20
    assert load.rate(20)["rate"] == 20 / load.seconds


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    everything_sent = asyncio.Event()
    sent = 0

    async def ask(payload: bytes) -> bytes:
        nonlocal sent
        sent += 1
        if sent == 30:
            everything_sent.set()
        await everything_sent.wait()  # a closed loop would never get here with the last of them
        return payload

    load = await open_loop(ask, [b"%d" % number for number in range(30)], 3_000)
    assert load.answers == [b"%d" % number for number in range(30)]


async def test_a_stall_counts_for_all_that_were_due_meanwhile() -> None:
    """A server that answers one at a time stalls: the requests due during the stall show it (coordinated omission)."""
    turn = asyncio.Lock()

    async def ask(payload: bytes) -> bytes:
        async with turn:
            if payload == b"0":
                await asyncio.sleep(0.1)
        return payload

    load = await open_loop(ask, [b"%d" % number for number in range(50)], 1_000)
    assert all(latency >= 0.099 - number / 1_000 for number, latency in enumerate(load.latencies))


async def test_processor_time_is_that_of_the_sending_alone() -> None:
    async def ask(payload: bytes) -> bytes:
        started = time.process_time()
        while time.process_time() < started + 0.05:
            pass
        return payload

    payloads = [b"1", b"2"]
    assert (await closed_loop(ask, payloads, 1, Processors())).processor[CLIENT] >= 0.08
    assert (await closed_loop(ask, payloads, 1)).processor == {}
