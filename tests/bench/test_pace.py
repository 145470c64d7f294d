import asyncio

from bench.pace import ticking


async def test_it_ticks_until_the_block_ends() -> None:
    ticks = 0
    enough = asyncio.Event()

    def on_tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 10:
            enough.set()

    with ticking(0.001, on_tick):
        await enough.wait()
    seen = ticks
    await asyncio.sleep(0.01)
    assert ticks == seen
