"""When nats-server, or Postgres, is restarted for its own good."""

import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from cli.health import Health, HealthWatch, is_recovering, nats_health
from cli.servers import NatsPlan
from tests.support.servers import NatsServer, wait_until


def test_a_server_that_is_starting_is_left_alone() -> None:
    watch = HealthWatch()
    assert not any(watch.should_restart(Health.UNWELL, now) for now in range(1000))


def test_unwell_for_several_seconds_means_restart() -> None:
    watch = HealthWatch()
    findings = [(Health.WELL, 0), (Health.UNWELL, 1), (Health.UNWELL, 4), (Health.UNWELL, 5)]
    assert [watch.should_restart(health, now) for health, now in findings] == [False, False, False, True]


def test_one_that_cannot_write_is_restarted_even_if_it_was_never_seen_well() -> None:
    """The disk was full again before anybody had looked at the server that was just started."""
    watch = HealthWatch()
    findings = [(Health.UNWELL, 0), (Health.BROKEN, 1), (Health.BROKEN, 5), (Health.BROKEN, 6)]
    assert [watch.should_restart(health, now) for health, now in findings] == [False, False, False, True]


def test_a_moment_of_health_starts_the_count_anew() -> None:
    watch = HealthWatch()
    findings = [(Health.WELL, 0), (Health.UNWELL, 4), (Health.WELL, 5), (Health.UNWELL, 9)]
    assert not any(watch.should_restart(health, now) for health, now in findings)


def test_silence_is_given_longer() -> None:
    watch = HealthWatch()
    findings = [(Health.WELL, 0), (Health.SILENT, 14), (Health.SILENT, 15)]
    assert [watch.should_restart(health, now) for health, now in findings] == [False, False, True]


@pytest.mark.stack
async def test_the_health_of_a_real_server_and_of_a_stranger_on_its_port(nats_server: NatsServer) -> None:
    stranger = NatsPlan(
        nats_server.plan.store, "127.0.0.1", nats_server.plan.port, nats_server.plan.monitor_port, "another"
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await nats_health(client, nats_server.plan)).health is Health.WELL
        assert "is another server" in (await nats_health(client, stranger)).why
        nats_server.kill()
        assert (await nats_health(client, nats_server.plan)).health is Health.SILENT


@pytest.mark.parametrize(
    ("says", "health"),
    [("stream is not current", Health.UNWELL), ("stream 'JOURNAL' write error: no space left", Health.BROKEN)],
)
async def test_an_unwell_server_says_why(says: str, health: Health) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/varz":
            return httpx.Response(200, json={"server_name": "ours"})
        return httpx.Response(503, json={"status": "unavailable", "error": says})

    plan = NatsPlan(Path("unused"), "127.0.0.1", 1, 1, "ours")
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        finding = await nats_health(client, plan)
    assert finding.health is health
    assert says in finding.why


def test_a_recovery_is_at_work_as_long_as_its_process_is_there() -> None:
    """Real processes that are named as Postgres names its own."""
    script = "exec -a 'postgres: startup recovering 01' sleep 60 & exec -a 'postgres: io worker 0' sleep 60 & wait"
    with subprocess.Popen(["bash", "-c", script]) as postmaster:
        try:
            workers = psutil.Process(postmaster.pid)
            assert wait_until(lambda: sum("postgres" in each.cmdline()[0] for each in workers.children()) == 2)
            assert is_recovering(postmaster.pid)
            next(each for each in workers.children() if "startup" in each.cmdline()[0]).kill()
            assert wait_until(lambda: not is_recovering(postmaster.pid))
        finally:
            for each in psutil.Process(postmaster.pid).children():
                each.kill()
    assert is_recovering(postmaster.pid), "it is being started again"
