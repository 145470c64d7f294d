"""The same orders over REST to the exchange as it is usually begun (bench/usual_service.py) and to ours, taking turns.

Both are durable: Postgres with fsync there, the synced journal here, and there, too, every order and trade is in
Postgres, which the recorder writes. Both run with all their processes; the one that is not asked has nothing to do.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import asyncpg

from bench.client import HttpPool, WrongAnswer, post_request
from bench.environments import environment, run_to_end
from bench.flow import Flow
from bench.load import Load, closed_loop
from bench.measure_rest import CONNECTIONS, order_body
from bench.programs import pool, running, whole_stack
from bench.rounds import MILLISECONDS, PER_SECOND, Row, interleaved
from bench.run import Say
from bench.scale import SEED
from cli.processes import Program
from cli.servers import free_port, postgres_program, prepare_postgres

REQUIREMENTS = (
    "fastapi==0.165.0",
    "pydantic==2.14.3",
    "sqlalchemy[asyncio]==2.1.9",
    "asyncpg==0.32.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "httptools==0.9.0",
)
_SERVICE = Path(__file__).with_name("usual_service.py")
_WARM_UP = 300
_FLOOR = "FastAPI and a row for each order"


@asynccontextmanager
async def usual_service(python: Path, folder: Path) -> AsyncIterator[str]:
    """Its Postgres and two processes of it. Gives the address."""
    plan = prepare_postgres(folder / "usual-postgres")
    with running(postgres_program(plan), folder / "usual-postgres.log") as postgres:
        await postgres.until(lambda: _answers(plan.url("postgres")))
        settings = {"USUAL_DATABASE": plan.url("postgres").replace("postgresql:", "postgresql+asyncpg:")}
        await run_to_end(str(python), str(_SERVICE), "create", **settings)
        port = free_port("127.0.0.1")
        command = (str(python), str(_SERVICE), "serve", str(port))
        serve = Program(name="usual service", command=command, environment=settings)
        url = f"http://127.0.0.1:{port}"
        with running(serve, folder / "usual.log") as service:
            await service.until(lambda: _serves(url))
            yield url


async def _answers(url: str) -> bool:
    with suppress(OSError, asyncpg.PostgresError):
        connection = await asyncpg.connect(url)
        await connection.close()
        return True
    return False


async def _serves(url: str) -> bool:
    with suppress(OSError, WrongAnswer):
        async with pool(url, 1) as http:
            await http.ask(post_request("/nothing", "127.0.0.1", b""))
            return True
    return False


class Client:
    """Sends the same orders to either, each in a sequence of its own."""

    def __init__(self, http: HttpPool) -> None:
        self._http = http
        self._flow = Flow(SEED, cancels=0)

    async def send(self, count: int, in_flight: int) -> Load:
        requests = [post_request("/orders", "127.0.0.1", order_body(each)) for each in self._flow.next_commands(count)]
        load = await closed_loop(self._http.ask, requests, in_flight)
        wrong = [answer for answer in load.answers if not answer.startswith(b"HTTP/1.1 201 ")]
        if wrong:
            raise WrongAnswer(f"an order was not taken: {wrong[0][:1000]!r}")
        return load


async def measure(rounds: int, orders: int, folder: Path, environments: Path, say: Say) -> list[Row]:
    say("the environment of the usual service")
    python = await environment(environments / "usual-service", REQUIREMENTS)
    say("starting both exchanges")
    async with (
        usual_service(python, folder) as url,
        whole_stack(folder) as stack,
        pool(url, CONNECTIONS) as floor,
        pool(stack.http, CONNECTIONS) as figure,
    ):
        usual, ours = Client(floor), Client(figure)
        for client in (usual, ours):
            await client.send(_WARM_UP, CONNECTIONS)
        say("orders")
        at_once = await _both(rounds, orders, CONNECTIONS, usual, ours)
        say("orders one at a time")
        alone = await _both(rounds, orders // 4, 1, usual, ours)
    return [_rate_row(orders, *at_once), _latency_row(*alone)]


async def _both(rounds: int, orders: int, in_flight: int, usual: Client, ours: Client) -> tuple[list[Load], list[Load]]:
    def sending(client: Client) -> Callable[[], Awaitable[Load]]:
        return lambda: client.send(orders, in_flight)

    return await interleaved(rounds, sending(usual), sending(ours))


def _rate_row(orders: int, floors: list[Load], figures: list[Load]) -> Row:
    ours, usual = [tuple(orders / load.seconds for load in loads) for loads in (figures, floors)]
    return Row(f"REST, {CONNECTIONS} connections: orders", _FLOOR, PER_SECOND, ours, usual)


def _latency_row(floors: list[Load], figures: list[Load]) -> Row:
    ours, usual = [tuple(1000 * median(load.latencies) for load in loads) for loads in (figures, floors)]
    return Row("REST, 1 in flight: latency p50", _FLOOR, MILLISECONDS, ours, usual)
