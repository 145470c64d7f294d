"""How the real services come to live in the simulation: their clock, their broker and their database are replaced.

Nothing else of them is: matcher, standby, recorder and what they share run as they are. Where they look around again
and again they do so less often here, which changes when something is noticed, not what is done about it.
"""

import asyncio
import gc
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx

import entry.matcher_client
import matcher.broker
import matcher.lease
import matcher.recovery
import matcher.service
import matcher.snapshots
import matcher.standby
import matcher.trimming
import recorder.archive
import recorder.store
import runtime.archive
import runtime.clock
import runtime.connection
import runtime.journal
import runtime.micro
from simulation.client import SimulatedClient
from simulation.snapshots import take_at_once

if TYPE_CHECKING:
    from simulation.world import World

EPOCH = 1_790_000_000.0
"""Seconds since 1970 at which every run begins."""

Replacement = tuple[object, str, object]

_POLLS: list[Replacement] = [
    (entry.matcher_client, "_TICK_SECONDS", 0.2),
    (matcher.service, "_CLOCK_SECONDS", 0.2),
    (matcher.standby, "_LOOK_SECONDS", 0.3),
    (matcher.trimming, "ROUND_SECONDS", 0.7),
    (runtime.journal, "_GAP_SECONDS", 0.25),
]


class Exited(BaseException):
    """os._exit was called."""


@contextmanager
def installed(world: "World", planted: Sequence[Replacement] = ()) -> Iterator[None]:
    """Services that start while this holds live in `world`; `planted` is put on top."""
    replacements = [*_replacements(world), *_POLLS, *planted]
    before = [(module, name, getattr(module, name)) for module, name, _ in replacements]
    try:
        for module, name, value in replacements:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)


def _replacements(world: "World") -> list[Replacement]:
    loop, broker, postgres = world.loop, world.broker, world.postgres
    tokens = Random(world.seed)

    def time_ns() -> int:
        return int((EPOCH + loop.time()) * 1_000_000) * 1000 + loop.current.clock * 1000

    def exit_now(code: int) -> None:
        process = loop.current
        world.report(f"{process.name} ended itself with exit code {code}")
        process.kill()
        raise Exited

    clock = _Instead(time, time_ns=time_ns, monotonic=loop.time)
    drawn = _Instead(secrets, token_hex=lambda size: tokens.randbytes(size).hex())
    return [
        (runtime.connection, "NatsClient", lambda: SimulatedClient(world.network, broker)),
        (runtime.connection, "_services", {}),  # or the worlds of a hundred thousand seeds would stay in memory
        (runtime.clock, "time", clock),
        (runtime.archive, "time", clock),
        (runtime.micro, "version", lambda _: "simulated"),
        (matcher.recovery, "secrets", drawn),
        (matcher.lease, "secrets", drawn),
        (matcher.service, "os", _Instead(os, _exit=exit_now)),
        (matcher.service, "gc", _Instead(gc, freeze=lambda: None)),
        (matcher.snapshots, "gc", _Instead(gc, freeze=lambda: None)),
        (matcher.broker, "httpx", _Instead(httpx, AsyncClient=_monitor(world))),
        (matcher.service, "snapshot_files", lambda folder: world.snapshots_of(loop.current)),
        (matcher.standby, "snapshot_files", lambda folder: world.snapshots_of(loop.current)),
        (matcher.snapshots, "take", take_at_once),
        (recorder.store, "connect", postgres.connect),
        (recorder.store, "migrate", _nothing_to_migrate),
        (recorder.archive, "asyncpg", _Instead(asyncpg, connect=postgres.connect)),
    ]


class _Instead:
    """A module, but for these names."""

    def __init__(self, module: object, **names: object) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


async def _nothing_to_migrate(_: object) -> None:
    return


def _monitor(world: "World") -> type:
    """nats-server's monitoring port, as httpx shows it."""

    class Monitor:
        def __init__(self, **_: Any) -> None:
            return

        async def __aenter__(self) -> "Monitor":
            return self

        async def __aexit__(self, *_: object) -> None:
            return

        async def get(self, url: str) -> Any:
            held = world.network.held.get(world.loop.current.name, 0.0) - world.loop.time()
            await asyncio.sleep(max(held, 0.0) + world.network.delay())
            if not world.broker.up:
                raise httpx.ConnectError("nobody is there")
            server = {
                "server_id": world.broker.server_id,
                "server_name": "simulated",
                "jetstream": {"config": {"sync_always": True}},
            }
            return SimpleNamespace(json=lambda: server)

    return Monitor
