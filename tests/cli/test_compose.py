"""The containers cannot be started in these tests, but what they are made of can be checked: docker-compose.yml, the
broker's configuration and its health check."""

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.servers import nats_executable
from runtime.healthcheck import CHECKS
from runtime.settings import load_settings

ROOT = Path(__file__).parents[2]
SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
PUBLISHED = "${PRICETIME_PUBLISHED_HOST:-127.0.0.1}"
RUNNING = ("nats", "postgres", *SERVICES)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def test_every_part_is_there_and_only_the_official_images_are_foreign(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    assert set(RUNNING) <= set(images)
    assert all(images[name] == "pricetime" for name in SERVICES)
    assert re.fullmatch(r"nats:2\.15\.\d+-alpine", images["nats"])
    assert images["postgres"].split(":") == ["postgres", "18"]


def test_nothing_is_published_beyond_loopback_and_monitoring_not_at_all(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert sorted(port.replace(PUBLISHED, "127.0.0.1") for port in published) == [
        "127.0.0.1:4222:4222",
        "127.0.0.1:8000:8000",
        "127.0.0.1:8001:8001",
    ]


@pytest.mark.parametrize("name", ["gateway", "broadcaster"])
def test_a_port_published_beyond_loopback_is_known_to_its_service(name: str, services: dict[str, Any]) -> None:
    """One variable for both, so that the service refuses to serve others as long as there are no keys."""
    [port] = services[name]["ports"]
    assert port.startswith(PUBLISHED)
    assert services[name]["environment"]["PRICETIME_PUBLISHED_HOST"] == PUBLISHED


@pytest.mark.parametrize("name", RUNNING)
def test_every_part_has_a_health_check(name: str, services: dict[str, Any]) -> None:
    test = services[name]["healthcheck"]["test"]
    asked = {"nats": "/etc/pricetime/healthcheck.sh", "postgres": "pg_isready"}.get(name, "runtime.healthcheck")
    assert test[0] == "CMD"
    assert asked in test
    if name in SERVICES:
        assert test[-1] == name
        assert name in CHECKS


@pytest.mark.parametrize("name", RUNNING)
def test_every_part_is_confined(name: str, services: dict[str, Any]) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    if name in SERVICES:
        assert "user" not in service
        assert re.search(r"^USER pricetime$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    else:
        assert service["user"] not in ("root", "0")


def test_each_waits_for_the_health_of_what_it_needs(services: dict[str, Any]) -> None:
    waits = {
        name: {needed for needed, how in service.get("depends_on", {}).items() if how["condition"] == "service_healthy"}
        for name, service in services.items()
    }
    assert waits["matcher"] == {"nats"}
    assert waits["recorder"] == {"nats", "postgres"}
    assert waits["broadcaster"] == {"nats"}
    assert waits["gateway"] == {"matcher", "recorder", "broadcaster"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_environment_of_each_service_is_understood(name: str, services: dict[str, Any]) -> None:
    service = services[name]
    assert service["command"] == ["python", "-m", name]
    assert (ROOT / name / "__main__.py").exists()
    settings = load_settings(service["environment"])
    assert settings.nats_url == "nats://nats:4222"
    assert settings.nats_monitor_url == "http://nats:8222"


def test_what_must_survive_lies_in_volumes(compose: dict[str, Any], services: dict[str, Any]) -> None:
    mounted = {name: services[name]["volumes"] for name in ("nats", "postgres", "broadcaster")}
    assert "nats-data:/data" in mounted["nats"]
    assert services["nats"]["environment"]["PRICETIME_NATS_STORE"] == "/data"
    assert mounted["postgres"] == ["postgres-data:/var/lib/postgresql"]  # where the image of Postgres 18 keeps it
    assert set(compose["volumes"]) == {"nats-data", "postgres-data", "broadcaster-data"}


def test_postgres_is_reached_by_those_who_use_it_only(compose: dict[str, Any], services: dict[str, Any]) -> None:
    assert compose["networks"]["storage"] == {"internal": True}
    assert {name for name, service in services.items() if "storage" in service.get("networks", ())} == {
        "postgres",
        "recorder",
        "gateway",
    }


def test_both_ways_of_running_share_the_configuration_that_syncs_every_write() -> None:
    shared = (ROOT / "nats" / "pricetime.conf").read_text()
    assert re.search(r"^\s*sync_interval: always$", shared, re.MULTILINE)
    assert re.search(r"^\s*max_file_store: ", shared, re.MULTILINE)  # or a start on a full disk allows no write at all
    for name in ("local.conf", "compose.conf"):
        assert "include pricetime.conf" in (ROOT / "nats" / name).read_text().splitlines()


@pytest.mark.parametrize("name", ["local.conf", "compose.conf"])
def test_a_real_server_accepts_the_configuration(name: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PRICETIME_NATS_STORE": str(tmp_path),
        "PRICETIME_NATS_NAME": "test",
        "PRICETIME_NATS_LISTEN": '"127.0.0.1:-1"',
        "PRICETIME_NATS_MONITOR": '"127.0.0.1:-1"',
    }
    command = [nats_executable(), "-t", "-c", str(ROOT / "nats" / name)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout + done.stderr


def test_nats_holds_configuration_only() -> None:
    assert {path.suffix for path in (ROOT / "nats").iterdir() if path.name != "__pycache__"} == {".conf", ".sh"}


def test_the_health_check_of_nats_ends_a_server_that_stays_unwell(tmp_path: Path) -> None:
    """With a wget that fails when told to: the machine that runs the tests need not have one."""
    wget, answer = tmp_path / "wget", tmp_path / "answer"
    wget.write_text(f'#!/bin/sh\nexit "$(cat {answer})"\n')
    wget.chmod(0o755)
    with subprocess.Popen(["sleep", "600"]) as server:

        def check(wget_exit_code: int) -> int:
            answer.write_text(str(wget_exit_code))
            arguments = ["http://127.0.0.1:8222/healthz", str(server.pid), str(tmp_path / "unwell")]
            command = ["sh", str(ROOT / "nats" / "healthcheck.sh"), *arguments]
            environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
            return subprocess.run(command, check=False, timeout=30, env=environment).returncode

        assert [check(8) for _ in range(8)] == [1] * 8  # never well yet: it is starting
        assert server.poll() is None
        assert check(0) == 0
        assert [check(8) for _ in range(5)] == [1] * 5
        assert server.poll() is None
        assert check(8) == 1
        assert server.wait(10) == -signal.SIGTERM
