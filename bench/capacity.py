"""How far it goes: `python -m bench.capacity --users 10000 --symbols 100`, from the costs that bench.growth measured.

What the users do becomes orders and messages a second; each costs every process so much of a core, and leaves so many
bytes behind. Pure, but for reading the costs (docs/benchmarks/growth.json). docs/capacity.md explains it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

ROOT = Path(__file__).parent.parent
COSTS = ROOT / "docs" / "benchmarks" / "growth.json"
PAGE = ROOT / "docs" / "capacity.md"
BEGIN, END = "<!-- made by python -m bench.capacity --write -->\n", "<!-- end -->\n"

FULL = 0.7
"""A part that is busy for a greater share of the time makes everybody wait."""
SHOWN_PER_SECOND = 200.0
"""Runs of commits that a broadcaster shows at most: under load it pauses 5 ms (docs/decisions/0020)."""
_SECONDS_A_DAY = 86_400
_GIGABYTE = 1e9
_SHARED = ("nats", "postgres")
"""Use as many cores as there are; the others are one thread each."""


class Costs(Struct, frozen=True, kw_only=True):
    """Of one order, and of what is there. Processor in microseconds, memory and disk in bytes."""

    processor: dict[str, float]
    """Of each process but the gateway, for an order in a commit of 20."""
    gateway: float
    """For an order over REST."""
    message: float
    """Of the broadcaster, for each write to a WebSocket client."""
    journal: float
    postgres: float
    resting: dict[str, float]
    """Memory of each process for a resting order, and so on."""
    account: dict[str, float]
    symbol: dict[str, float]
    client: float
    base: dict[str, float]
    """Memory of each process with next to nothing in it."""


class Users(Struct, frozen=True, kw_only=True):
    """How many, and what one of them does."""

    users: int
    symbols: int
    active: float = 0.1
    """Share of them that is there at the same time."""
    orders_per_minute: float = 6.0
    """Of one who is there; amendments and cancelations count as orders."""
    peak: float = 5.0
    """The busiest second, as a multiple of the average."""
    resting: float = 5.0
    """Open orders of one, there or not."""
    watched: float = 3.0
    """Symbols whose trades one who is there watches over WebSocket."""
    trades: float = 0.5
    """Trades of an order, on average."""
    busy_hours: float = 12.0
    """Of a day; in the others there is next to nothing."""


class Machine(Struct, frozen=True, kw_only=True):
    cores: int = 2
    memory: float = 16.0
    disk: float = 500.0
    """Both in gigabytes."""


class Part(Struct, frozen=True):
    """`busy`: cores, at the peak. `limit`: cores that one of it can use."""

    name: str
    busy: float
    limit: float
    gigabytes: float = 0.0

    @property
    def load(self) -> float:
        return self.busy / self.limit


class Plan(Struct, frozen=True, kw_only=True):
    """What so many users lead to. Rates are per second, at the peak."""

    orders: float
    messages: float
    clients: float
    parts: tuple[Part, ...]
    journal_per_day: float
    postgres_per_day: float
    """Bytes."""
    memory: float
    """Gigabytes."""
    disk_days: float
    gateways: int
    broadcasters: int
    matchers: int
    first: str
    """The part that gives way first; its name says what it is."""
    room: float
    """How many times these users fit until then."""


def plan(users: Users, costs: Costs, machine: Machine) -> Plan:
    there = users.users * users.active
    average = there * users.orders_per_minute / 60
    orders = average * users.peak
    messages = there * min(users.watched * orders * users.trades / users.symbols, SHOWN_PER_SECOND)
    parts = _parts(users, costs, machine, orders, messages)
    memory = sum(part.gigabytes for part in parts)
    whole = Part("all processors", sum(part.busy for part in parts), machine.cores)
    rooms = {part.name: FULL / part.load for part in (*parts, whole) if part.load} | {
        "memory": machine.memory / max(memory, 0.001)
    }
    first = min(rooms, key=lambda name: rooms[name])
    a_day = average * users.busy_hours * 3600
    journal, postgres = a_day * costs.journal, a_day * costs.postgres
    named = {part.name: part for part in parts}
    return Plan(
        orders=orders,
        messages=messages,
        clients=there,
        parts=parts,
        journal_per_day=journal,
        postgres_per_day=postgres,
        memory=memory,
        disk_days=machine.disk * _GIGABYTE / (journal + postgres),
        gateways=_needed(named["gateway"].busy),
        broadcasters=_broadcasters(costs, orders, messages),
        matchers=max(_needed(named[name].busy) for name in ("matcher", "recorder")),
        first=first,
        room=rooms[first],
    )


def _parts(users: Users, costs: Costs, machine: Machine, orders: float, messages: float) -> tuple[Part, ...]:
    def part(name: str, microseconds: float) -> Part:
        limit = machine.cores if name in _SHARED else 1.0
        return Part(name, microseconds / 1e6, limit, _bytes(users, costs, name) / _GIGABYTE)

    work = {name: orders * each for name, each in costs.processor.items()}
    work["gateway"] = orders * costs.gateway
    work["broadcaster"] += messages * costs.message
    return tuple(part(name, microseconds) for name, microseconds in work.items())


def _bytes(users: Users, costs: Costs, name: str) -> float:
    total = costs.base.get(name, 0.0)
    total += users.users * users.resting * costs.resting.get(name, 0.0)
    total += users.users * costs.account.get(name, 0.0) + users.symbols * costs.symbol.get(name, 0.0)
    return total + (users.users * users.active * costs.client if name == "broadcaster" else 0.0)


def _needed(busy: float) -> int:
    return max(1, -int(-busy // FULL))


def _broadcasters(costs: Costs, orders: float, messages: float) -> int:
    """Each follows the whole journal and sends its share of the messages; 0: not even the journal fits into one."""
    left = FULL - orders * costs.processor["broadcaster"] / 1e6
    return max(1, -int(-messages * costs.message / 1e6 // left)) if left > 0 else 0


NEXT_STEPS = {
    "gateway": "start more gateways, behind one address: they share nothing",
    "broadcaster": "start more broadcasters: each follows the journal and serves its own clients",
    "matcher": "split the symbols over several journals, each with a matcher and a recorder",
    "recorder": "split the symbols over several journals, each with a matcher and a recorder",
    "postgres": "give Postgres a machine of its own; then split the symbols",
    "nats": "give NATS machines of its own, three of them; then split the symbols",
    "all processors": "more cores, or Postgres, gateways and broadcasters on other machines",
    "memory": "more memory, or split the symbols",
}


# The command


def as_text(found: Plan) -> list[str]:
    said = [
        f"a second, at the peak: {found.orders:,.1f} orders",
        f"to {found.clients:,.0f} clients: {found.messages:,.0f} messages",
        "",
        "part         cores   of what one can use   memory",
    ]
    for part in found.parts:
        said.append(f"{part.name:<12} {part.busy:5.2f}   {100 * part.load:18.0f} %   {part.gigabytes:5.2f} GB")
    journal, postgres = found.journal_per_day / _GIGABYTE, found.postgres_per_day / _GIGABYTE
    return [
        *said,
        "",
        f"a day: {journal:,.2f} GB of journal, {postgres:,.2f} GB in Postgres",
        f"the disk is full after {found.disk_days:,.0f} days",
        f"memory: {found.memory:,.1f} GB",
        _needs(found),
        f"first to give way: {found.first}, at {found.room:,.2f} times these users ({FULL:.0%} busy). "
        f"Then: {NEXT_STEPS[found.first]}",
    ]


def _needs(found: Plan) -> str:
    broadcasters = str(found.broadcasters) if found.broadcasters else "the journal alone is too much for one of the"
    return (
        f"needed: {found.gateways} gateways, {broadcasters} broadcasters, {found.matchers} matchers with a journal each"
    )


EXAMPLES = tuple(
    Users(users=users, symbols=symbols)
    for users, symbols in ((1_000, 10), (10_000, 100), (100_000, 1_000), (1_000_000, 10_000))
)
_HEADS = (
    "users",
    "symbols",
    "orders/s at the peak",
    "messages/s",
    "journal, GB a day",
    "Postgres, GB a day",
    "memory, GB",
    "cores",
    "gateways",
    "broadcasters",
    "matchers",
    "first to give way",
    "at times as many",
)


def table(costs: Costs, machine: Machine) -> str:
    """The examples as Markdown."""
    rows = [_HEADS, tuple("---:" for _ in _HEADS), *(_cells(users, plan(users, costs, machine)) for users in EXAMPLES)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(users: Users, found: Plan) -> tuple[str, ...]:
    return (
        f"{users.users:,}",
        f"{users.symbols:,}",
        f"{found.orders:,.0f}",
        f"{found.messages:,.0f}",
        f"{found.journal_per_day / _GIGABYTE:,.2f}",
        f"{found.postgres_per_day / _GIGABYTE:,.2f}",
        f"{found.memory:,.1f}",
        f"{sum(part.busy for part in found.parts):,.1f}",
        f"{found.gateways}",
        f"{found.broadcasters or 'split'}",
        f"{found.matchers}",
        found.first,
        f"{found.room:,.2f}",
    )


def with_table(page: str, made: str) -> str:
    """The page with its table replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + made + END + after


def read_costs(path: Path = COSTS) -> Costs:
    """Raises OSError or msgspec.MsgspecError."""
    content: Mapping[str, object] = msgspec.json.decode(path.read_bytes())
    return msgspec.convert(content["costs"], Costs)


def write_page(costs: Costs) -> None:
    PAGE.write_text(with_table(PAGE.read_text(), table(costs, Machine())))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    try:
        costs = read_costs()
    except (OSError, KeyError, msgspec.MsgspecError) as error:
        print(
            f"bench: no measured costs in {COSTS} ({error}); make them: python -m bench.growth --write", file=sys.stderr
        )
        return 1
    if given.pop("write"):
        write_page(costs)
        return 0
    machine = Machine(cores=given.pop("cores"), memory=given.pop("memory"), disk=given.pop("disk"))
    print("\n".join(as_text(plan(Users(**given), costs, machine))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description="What so many users need.")
    default = Users(users=10_000, symbols=100)
    helps = {
        "users": "how many there are",
        "symbols": "how many are traded",
        "active": "share of the users that is there at the same time",
        "orders_per_minute": "of one who is there",
        "peak": "the busiest second, as a multiple of the average",
        "resting": "open orders of each user",
        "watched": "symbols whose trades one who is there watches",
        "trades": "of an order, on average",
        "busy_hours": "of a day",
    }
    for name, text in helps.items():
        value = getattr(default, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_positive(type(value)), default=value, metavar="N", help=f"{text} ({value:g})")
    for name, value in (("cores", 2), ("memory", 16.0), ("disk", 500.0)):
        unit = "" if name == "cores" else ", gigabytes"
        parser.add_argument(
            f"--{name}",
            type=_positive(type(value)),
            default=value,
            metavar="N",
            help=f"of the machine{unit} ({value:g})",
        )
    parser.add_argument("--write", action="store_true", help="make the table of docs/capacity.md anew")
    return parser


def _positive(kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        value: float = kind(text)
        if not 0 < value < 1e12:
            raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
