"""`pricetime up --nats-nodes 3`: a whole exchange on three nats-servers, and which data may be started how."""

import asyncio
from pathlib import Path

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError

from cli.health import Health, HealthWatch, nats_health
from cli.main import main
from cli.servers import NatsPlan, nats_cluster_plans, nats_nodes_of
from contracts.subjects import COMMAND_RESULTS, COMMANDS_STREAM, JOURNAL_STREAM, KEYS, MATCHER_BUCKET
from runtime.connection import inbox_of, servers_of
from tests.support.stack import running_stack

EVERYWHERE = (JOURNAL_STREAM, COMMANDS_STREAM, f"KV_{KEYS}", f"KV_{COMMAND_RESULTS}", f"KV_{MATCHER_BUCKET}")


@pytest.mark.stack
async def test_the_whole_exchange_on_three_nodes_goes_on_without_one() -> None:
    with running_stack(options=("--nats-nodes", "3")) as stack:
        order = {"symbol": "BTC-USD", "side": "buy", "type": "limit", "price": "10", "quantity": "1", "account": "a"}

        def placed() -> bool:
            return httpx.post(f"{stack.http}/orders", json=order, timeout=20, trust_env=False).status_code == 201

        assert placed()
        connection = await nats.connect(servers_of(stack.nats), inbox_prefix=inbox_of(stack.nats) or "")
        for name in EVERYWHERE:
            assert await replicas_of(connection, name) == 3, name
        journal = await connection.jsm().stream_info(JOURNAL_STREAM)
        assert journal.cluster is not None
        await connection.close()
        other = next(f"nats-{number}" for number in "123" if not (journal.cluster.leader or "").endswith(number))
        killed = stack.kill(other)
        assert placed()
        stack.wait_until_healed(other, killed)
        assert placed()


def test_three_nodes_keep_their_names_and_have_folders_of_their_own(tmp_path: Path) -> None:
    first, again = nats_cluster_plans(tmp_path / "data"), nats_cluster_plans(tmp_path / "data")
    assert [plan.name for plan in first] == [plan.name for plan in again]
    assert len({plan.name for plan in first}) == len({plan.store for plan in first}) == 3
    for plans in (first, again):
        ports = [port for plan in plans for port in (plan.port, plan.monitor_port, plan.route_port)]
        assert len(set(ports)) == len(ports)
        assert {plan.route_ports for plan in plans} == {tuple(plan.route_port for plan in plans)}
    assert [plan.port for plan in nats_cluster_plans(tmp_path / "data", port=14222)] == [14222, 14223, 14224]


def test_data_of_one_node_is_not_started_as_three_nor_the_other_way_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    (one / "nats" / "jetstream").mkdir(parents=True)
    nats_cluster_plans(three)
    (three / "postgres.password").write_text("p")
    assert (nats_nodes_of(one), nats_nodes_of(three), nats_nodes_of(tmp_path)) == (1, 3, None)
    for data, wanted in ((one, "3"), (three, "1")):
        command = ["up", "--data", str(data), "--nats-nodes", wanted, "--http-port", "0", "--ws-port", "0"]
        assert main([*command, "--nats-port", "0"]) != 0
        assert f"not {wanted}: start it with that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "health"),
    [
        ("JetStream has not established contact with a meta leader", Health.WAITING),
        ("JetStream is not current with the meta leader", Health.WAITING),
        ("JetStream stream 'EXCHANGE > JOURNAL' is not current: group node unhealthy", Health.WAITING),
        ("JetStream stream 'EXCHANGE > JOURNAL' is not current: stream catching up", Health.WAITING),
        ("JetStream not enabled", Health.UNWELL),
    ],
)
async def test_a_node_is_not_restarted_for_want_of_the_others(error: str, health: Health) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/varz":
            return httpx.Response(200, json={"server_name": "ours"})
        return httpx.Response(503, text=f'{{"status":"unavailable","error":"{error}"}}')

    plan = NatsPlan(Path("unused"), "127.0.0.1", 1, 1, "ours", cluster="c")
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert (await nats_health(client, plan)).health is health
    watch = HealthWatch()
    watch.should_restart(Health.WELL, 0)
    assert any(watch.should_restart(health, now) for now in range(1, 100)) is (health is Health.UNWELL)


def test_what_was_waiting_is_given_its_time_anew() -> None:
    watch = HealthWatch()
    assert not any(watch.should_restart(health, now) for health, now in [(Health.WELL, 0), (Health.WAITING, 60)])
    assert [watch.should_restart(Health.UNWELL, now) for now in (61, 65)] == [False, True]


async def replicas_of(connection: nats.NATS, stream: str) -> int | None:
    """Once it is there: not every stream is made before the first order is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return (await connection.jsm().stream_info(stream)).config.num_replicas
            except NotFoundError:
                await asyncio.sleep(0.1)
