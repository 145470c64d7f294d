"""Which clusters the matcher trusts. A single server: test_recovery.py; nodes that come and go: test_cluster.py."""

from typing import Any

import httpx
import pytest

from matcher import broker
from matcher.broker import MonitorUnreachable, check_broker, watch_brokers
from runtime.service import Refused
from runtime.settings import Settings

SETTINGS = Settings(
    nats_url="nats://u:p@one:4222,two:4222,three:4222", nats_monitor_url="http://one,two,three", replicas=3
)


class Connection:
    def __init__(self) -> None:
        self.is_connected = True
        self._server_info = {"server_id": "one"}
        self.stats = {"reconnects": 0}
        self.is_dead = False

    async def flush(self, timeout: int) -> None:
        if self.is_dead:
            raise TimeoutError


def node(name: str, *, synced: bool = True, cluster: str = "c") -> dict[str, Any]:
    config = {"sync_always": True} if synced else {}
    return {"server_id": name, "server_name": name, "cluster": {"name": cluster}, "jetstream": {"config": config}}


NODES = {f"http://{name}": node(name) for name in ("one", "two", "three")}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What each answers; those that are taken out do not."""
    there = dict(NODES)

    async def ask(_: httpx.AsyncClient, address: str) -> object:
        return there.get(address) or broker._Silent(f"cannot read {address}/varz (ConnectError)")

    monkeypatch.setattr(broker, "_ask", ask)
    return there


async def check(settings: Settings = SETTINGS) -> None:
    connection: Any = Connection()
    await check_broker(connection, settings)


async def test_three_that_sync_are_trusted_and_two_are_enough(
    nodes: dict[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    await check()
    assert caplog.text == ""
    del nodes["http://two"]
    await check()
    assert "cannot read http://two/varz" in caplog.text


async def test_one_of_three_is_not_enough(nodes: dict[str, dict[str, Any]]) -> None:
    del nodes["http://two"], nodes["http://three"]
    with pytest.raises(MonitorUnreachable, match="two"):
        await check()


async def test_each_has_to_sync(nodes: dict[str, dict[str, Any]]) -> None:
    nodes["http://three"] = node("three", synced=False)
    with pytest.raises(Refused, match="nats-server three does not sync every write"):
        await check()


async def test_one_that_comes_back_without_is_found(
    nodes: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_LOOK_SECONDS", 0.01)
    del nodes["http://three"]
    await check()
    nodes["http://three"] = node("three", synced=False)
    connection: Any = Connection()
    with pytest.raises(Refused, match="three does not sync"):
        await watch_brokers(connection, SETTINGS)


async def test_addresses_must_be_those_of_one_cluster_each_once(nodes: dict[str, dict[str, Any]]) -> None:
    nodes["http://three"] = node("three", cluster="another")
    with pytest.raises(Refused, match="are not one cluster"):
        await check()
    nodes["http://three"] = node("two")
    with pytest.raises(Refused, match="are not different nodes"):
        await check()


async def test_as_many_addresses_as_replicas_are_needed(nodes: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(Refused, match="PRICETIME_REPLICAS is 3, but PRICETIME_NATS_MONITOR_URL names 1"):
        await check(Settings(nats_monitor_url="http://one", replicas=3))


async def test_one_that_is_started_again_while_it_is_asked_is_not_another(
    nodes: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is a new one after each start, so what it said of itself before does not fit the new connection."""
    monkeypatch.setattr(broker, "_NOTICE_SECONDS", 0.01)
    connection: Any = Connection()
    connection._server_info = {"server_id": "one, started again"}
    with pytest.raises(Refused, match="make PRICETIME_NATS_MONITOR_URL and PRICETIME_NATS_URL agree"):
        await check_broker(connection, SETTINGS)
    connection.is_dead = True  # and the connection has not noticed
    with pytest.raises(MonitorUnreachable, match="it may have been started again"):
        await check_broker(connection, SETTINGS)
    connection.is_dead = False

    async def ask(_: httpx.AsyncClient, address: str) -> object:
        connection.stats["reconnects"] += 1
        return NODES[address]

    monkeypatch.setattr(broker, "_ask", ask)
    with pytest.raises(MonitorUnreachable, match="it may have been started again"):
        await check_broker(connection, SETTINGS)
