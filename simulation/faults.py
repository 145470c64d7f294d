"""Which faults a seed brings, and when: drawn before the run begins, from a few kinds chosen for this seed.

Few kinds at a time find more than all at once: with everything failing always, nothing gets far enough to go wrong.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from contracts.subjects import MATCHER_HANDOVER

if TYPE_CHECKING:
    from simulation.world import World

Fault = Callable[["World", Random], None]


def kill(world: "World", random: Random) -> None:
    """SIGKILL."""
    service = world.any_service(random)
    world.say(f"FAULT kill {service.name}")
    service.kill()


def kill_at_a_step(world: "World", random: Random) -> None:
    """SIGKILL between any two steps that it takes in the next moments."""
    service = world.any_service(random)
    steps = random.randint(1, 120)
    world.say(f"FAULT kill {service.name} after {steps} steps")
    if service.process is not None:
        service.process.fuse = steps


def stop(world: "World", random: Random) -> None:
    """SIGTERM."""
    service = world.any_service(random)
    world.say(f"FAULT stop {service.name}")
    service.stop()


def pause(world: "World", random: Random) -> None:
    """SIGSTOP, and SIGCONT after a while that may be longer than every timeout."""
    service = world.any_service(random)
    seconds = random.choice((0.05, 0.5, 1.5, 4.0)) * (0.5 + random.random())
    process = service.process
    if process is None:
        return
    world.say(f"FAULT pause {service.name} for {seconds:.3f} s")
    process.pause()
    world.later(seconds, process.resume)
    world.pauses.append(process)


def cut_off(world: "World", random: Random) -> None:
    """Nothing passes between a process and the broker for a while; a long one breaks the connection."""
    name = random.choice(world.connected)
    seconds = random.choice((0.05, 0.5, 1.5, 5.0)) * (0.5 + random.random())
    world.say(f"FAULT cut {name} off for {seconds:.3f} s")
    world.cut_off(name, seconds)


def break_connection(world: "World", random: Random) -> None:
    name = random.choice(world.connected)
    world.say(f"FAULT break the connection of {name}")
    world.break_connections(name)


def slow_network(world: "World", random: Random) -> None:
    seconds = random.random() * 2
    world.say(f"FAULT slow network for {seconds:.3f} s")
    world.network.slow = random.choice((0.05, 0.3))
    world.later(seconds, world.fast_network)


def kill_broker(world: "World", random: Random) -> None:
    """SIGKILL or power cut of nats-server."""
    seconds = random.choice((0.05, 0.3, 2.0)) * (0.5 + random.random())
    world.say(f"FAULT kill nats-server for {seconds:.3f} s")
    world.broker.crash()
    world.later(seconds, world.broker.start)


def pause_broker(world: "World", random: Random) -> None:
    seconds = random.choice((0.3, 2.0, 4.0)) * (0.5 + random.random())
    world.say(f"FAULT pause nats-server for {seconds:.3f} s")
    process = world.broker.process
    process.pause()
    world.later(seconds, process.resume)
    world.pauses.append(process)


def dead_disk(world: "World", random: Random) -> None:
    """A write that fails: nothing is stored or acknowledged until nats-server is started again."""
    seconds = 0.5 + random.random() * 2
    world.say(f"FAULT nats-server's disk fails; it is started again in {seconds:.3f} s")
    world.broker.disk.is_dead = True
    world.later(seconds, world.broker.crash)
    world.later(seconds + 0.2, world.broker.start)


def slow_disk(world: "World", random: Random) -> None:
    world.say("FAULT slow syncs")
    world.broker.slow_writes = 0.3
    world.later(random.random() * 3, world.fast_disk)


def spoil_acknowledgements(world: "World", random: Random) -> None:
    """The journal's next acknowledgements: lost, late, doubled or well."""
    faults = [random.choice(("lost", "late", "doubled", "")) for _ in range(random.randint(1, 4))]
    world.say(f"FAULT the next acknowledgements are {faults}")
    world.broker.ack_faults.next += faults


def kill_postgres(world: "World", random: Random) -> None:
    seconds = random.choice((0.05, 0.5, 2.0)) * (0.5 + random.random())
    world.say(f"FAULT kill postgres for {seconds:.3f} s")
    world.postgres.crash()
    world.later(seconds, world.postgres.start)


def kill_postgres_at_a_statement(world: "World", random: Random) -> None:
    """At one of the next, COMMIT as well as any other."""
    statements, seconds = random.randint(1, 25), random.random()
    world.say(f"FAULT kill postgres at its statement {statements} from now")

    def crash() -> None:
        world.say("postgres dies")
        world.postgres.on_statement = None
        world.postgres.crash()
        world.later(seconds, world.postgres.start)

    world.postgres.on_statement = _countdown(statements, crash)


def kill_broker_at_a_write(world: "World", random: Random) -> None:
    """With one of the next messages written, and not acknowledged."""
    writes, seconds = random.randint(1, 10), random.random()
    world.say(f"FAULT kill nats-server at its write {writes} from now")

    def crash() -> None:
        world.say("nats-server dies")
        world.broker.disk.on_written = None
        world.broker.crash()
        world.later(seconds, world.broker.start)

    world.broker.disk.on_written = _countdown(writes, crash)


def _countdown(count: int, action: Callable[[], None]) -> Callable[[], bool]:
    left = [count]

    def is_now() -> bool:
        left[0] -= 1
        if left[0] == 0:
            action()
        return left[0] == 0

    return is_now


def terminate_backends(world: "World", random: Random) -> None:
    world.say("FAULT pg_terminate_backend")
    world.postgres.terminate_backends()


def stall_postgres(world: "World", random: Random) -> None:
    seconds = random.random() * 3
    world.say(f"FAULT postgres stalls for {seconds:.3f} s")
    world.postgres.held_until = world.loop.time() + seconds


def another_matcher(world: "World", _: Random) -> None:
    world.say("FAULT another matcher is started")
    world.start_another("matcher")


def another_recorder(world: "World", _: Random) -> None:
    world.say("FAULT another recorder is started")
    world.start_another("recorder")


def hand_over(world: "World", _: Random) -> None:
    """`pricetime handover`."""
    world.say("FAULT hand over")
    world.broker.send(MATCHER_HANDOVER, MATCHER_HANDOVER, "_INBOX_operator.0", b"{}", None)


def turn_clock(world: "World", random: Random) -> None:
    """The clock of one machine jumps, back or forth."""
    service = world.any_service(random)
    seconds = random.choice((-30.0, -1.0, 1.0, 30.0)) * random.random()
    world.say(f"FAULT the clock of {service.name} jumps by {seconds:.3f} s")
    service.clock += int(seconds * 1_000_000)
    if service.process is not None:
        service.process.clock = service.clock


KINDS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        kill,
        kill_at_a_step,
        stop,
        pause,
        cut_off,
        break_connection,
        slow_network,
        kill_broker,
        pause_broker,
        dead_disk,
        slow_disk,
        spoil_acknowledgements,
        kill_postgres,
        kill_postgres_at_a_statement,
        kill_broker_at_a_write,
        terminate_backends,
        stall_postgres,
        another_matcher,
        another_recorder,
        hand_over,
        turn_clock,
    )
}


def schedule(random: Random, seconds: float) -> list[tuple[float, Fault]]:
    """Moments and faults of one run."""
    kinds = random.sample(sorted(KINDS), random.randint(2, 6))
    count = random.randint(2, 9)
    return sorted(
        ((random.random() * seconds, KINDS[random.choice(kinds)]) for _ in range(count)), key=lambda each: each[0]
    )
