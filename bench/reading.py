"""The floor of every recovery, as a process: `python -m bench.reading URL` reads the journal and decodes all of it."""

import asyncio
import gc
import sys

import uvloop

from contracts.commits import Chain
from runtime.connection import close, connect
from runtime.journal import JournalReader, journal_state


async def read(url: str) -> int:
    """How many commands there are."""
    connection = await connect(url, "bench")
    chain, commands = Chain(), 0
    end = (await journal_state(connection)).last_seq
    async with JournalReader(connection, 1) as reader:
        async for messages in reader:
            for sequence, payload in messages:
                commands += len(chain.follow(sequence, payload).commands)
            if chain.sequence >= end:
                break
    await close(connection)
    return commands


if __name__ == "__main__":
    gc.freeze()  # as the services do
    gc.set_threshold(20_000)
    uvloop.install()
    print(asyncio.run(read(sys.argv[1])))
