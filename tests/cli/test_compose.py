"""What the containers are made of: docker-compose.yml, the broker's configuration and its health check, the proxy's.

They are started by `make compose-test` (tests/compose), which takes minutes and root.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.broker_users import PASSWORDS, USERS, list_logins, with_login
from cli.main import main
from cli.processes import Program
from cli.servers import nats_executable, nats_plan
from entry.problems import Problem
from gateway.server import _KEEP_ALIVE_SECONDS
from runtime.connection import servers_of
from runtime.healthcheck import CHECKS
from runtime.proxies import TrustedProxies
from runtime.settings import load_settings
from tests.support.plain_nats import PlainNats
from tests.support.servers import NatsServer

ROOT = Path(__file__).parents[2]
SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
PUBLISHED = "${PRICETIME_PUBLISHED_HOST:-127.0.0.1}"
PROXIED = "${PRICETIME_PROXY_HOST:-127.0.0.1}"
RUNNING = ("nats", "postgres", *SERVICES, "proxy", "prometheus", "grafana")
ASKED_BY_HEALTH_CHECKS = {
    "nats": "/etc/pricetime/healthcheck.sh",
    "postgres": "pg_isready",
    "proxy": "http://127.0.0.1:8081/",
    "prometheus": "http://127.0.0.1:9090/-/ready",
    "grafana": "http://127.0.0.1:3000/api/health",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def resolved(environment: dict[str, str], **given: str) -> dict[str, str]:
    """With the variables that are given, and the defaults of the others. Passwords stay as they are."""

    def value(found: re.Match[str]) -> str:
        name, how, other = found.groups()
        return given.get(name, other) if how == "-" else other if given.get(name) else ""

    return {name: re.sub(r"\$\{(\w+):([-+])([^}]*)\}", value, str(text)) for name, text in environment.items()}


def test_every_part_is_there_and_only_the_official_images_are_foreign(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    assert set(RUNNING) <= set(images)
    assert all(images[name] == "pricetime" for name in SERVICES)
    assert re.fullmatch(r"nats:2\.15\.\d+-alpine", images["nats"])
    assert images["postgres"].split(":") == ["postgres", "18"]


def test_nothing_is_published_beyond_loopback_and_monitoring_not_at_all(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert sorted(port.replace(PUBLISHED, "127.0.0.1").replace(PROXIED, "127.0.0.1") for port in published) == [
        "127.0.0.1:3000:3000",
        "127.0.0.1:4222:4222",
        "127.0.0.1:4223:4222",
        "127.0.0.1:4224:4222",
        "127.0.0.1:443:443",
        "127.0.0.1:8000:8000",
        "127.0.0.1:8001:8001",
        "127.0.0.1:80:80",
        "127.0.0.1:9090:9090",
    ]


def test_the_proxy_is_published_where_the_services_know_of_it(services: dict[str, Any]) -> None:
    """Or others would trade through it while there are no keys. It may be let out without the ports behind it."""
    assert [port.partition("}:")[0] + "}" for port in services["proxy"]["ports"]] == [PROXIED, PROXIED]
    for name in ("gateway", "broadcaster"):
        hosts = services[name]["environment"]["PRICETIME_PUBLISHED_HOST"].split(",")
        assert hosts == [PUBLISHED, PROXIED]


@pytest.mark.parametrize("name", ["gateway", "broadcaster"])
def test_a_port_published_beyond_loopback_is_known_to_its_service(name: str, services: dict[str, Any]) -> None:
    """One variable for both, so that the service refuses to serve others as long as there are no keys."""
    [port] = services[name]["ports"]
    assert port.startswith(PUBLISHED)
    assert PUBLISHED in services[name]["environment"]["PRICETIME_PUBLISHED_HOST"].split(",")


@pytest.mark.parametrize("name", RUNNING)
def test_every_part_has_a_health_check(name: str, services: dict[str, Any]) -> None:
    test = services[name]["healthcheck"]["test"]
    assert test[0] == "CMD"
    assert ASKED_BY_HEALTH_CHECKS.get(name, "runtime.healthcheck") in test
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
    assert waits["proxy"] == {"gateway", "broadcaster"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_environment_of_each_service_is_understood(name: str, services: dict[str, Any]) -> None:
    service = services[name]
    assert service["command"] == ["python", "-m", name]
    assert (ROOT / name / "__main__.py").exists()
    settings = load_settings(resolved(service["environment"]))
    assert settings.replicas == 1
    assert settings.nats_url == f"nats://{name}:${{PRICETIME_NATS_PASSWORD_{name.upper()}}}@nats:4222"
    assert settings.nats_monitor_url == "http://nats:8222"


def test_what_must_survive_lies_in_volumes(compose: dict[str, Any], services: dict[str, Any]) -> None:
    mounted = {name: services[name]["volumes"] for name in ("nats", "postgres", "broadcaster", "matcher")}
    assert "nats-data:/data" in mounted["nats"]
    assert resolved(services["nats"]["environment"])["PRICETIME_NATS_STORE"] == "/data"
    assert mounted["postgres"] == ["postgres-data:/var/lib/postgresql"]  # where the image of Postgres 18 keeps it
    assert mounted["matcher"] == ["matcher-data:/data"]
    assert set(compose["volumes"]) == {
        "nats-data",
        "nats-2-data",
        "nats-3-data",
        "nats-users",
        "postgres-data",
        "broadcaster-data",
        "matcher-data",
        "matcher-standby-data",
        "proxy-data",
        "prometheus-data",
        "grafana-data",
    }


def test_a_second_matcher_is_the_same_with_snapshots_of_its_own(services: dict[str, Any]) -> None:
    differs = {"profiles", "volumes"}
    first, second = services["matcher"], services["matcher-standby"]
    assert second["profiles"] == ["standby"]  # not started with the others
    assert second["volumes"] != first["volumes"]
    assert {key: value for key, value in second.items() if key not in differs} == {
        key: value for key, value in first.items() if key not in differs
    }


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
    for name in ("local.conf", "compose.conf", "compose-cluster.conf"):
        assert "include pricetime.conf" in (ROOT / "nats" / name).read_text().splitlines()


def test_a_real_server_accepts_the_configuration_of_one_machine(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PRICETIME_NATS_STORE": str(tmp_path),
        "PRICETIME_NATS_NAME": "test",
        "PRICETIME_NATS_LISTEN": '"127.0.0.1:-1"',
        "PRICETIME_NATS_MONITOR": '"127.0.0.1:-1"',
    }
    command = [nats_executable(), "-t", "-c", str(ROOT / "nats" / "local.conf")]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout + done.stderr


# One origin for all of it


def test_with_a_site_pages_are_sent_to_the_proxy_for_the_websocket(services: dict[str, Any]) -> None:
    environment = services["gateway"]["environment"]
    assert load_settings(resolved(environment)).public_ws_url == ""
    assert load_settings(resolved(environment, PRICETIME_SITE="trade.example.com")).public_ws_url == "/ws"
    assert services["proxy"]["profiles"] == ["proxy"]  # not started with the others
    assert resolved(services["proxy"]["environment"])["PRICETIME_SITE"] == "http://localhost"


@pytest.mark.parametrize(
    "given", [{}, {"PRICETIME_PROXY_NETWORK": "192.168.7", "PRICETIME_TRUSTED_PROXIES": "2001:db8::1"}]
)
def test_the_proxy_alone_is_believed_where_its_clients_are(
    given: dict[str, str], compose: dict[str, Any], services: dict[str, Any]
) -> None:
    """It has an address of its own that no other container gets, in a network with nobody but those who ask it."""
    [network] = [resolved(each, **given) for each in compose["networks"]["site"]["ipam"]["config"]]
    address = resolved(services["proxy"]["networks"]["site"], **given)["ipv4_address"]
    assert ip_address(address) in [*ip_network(network["subnet"]).hosts()]
    assert ip_address(address) not in ip_network(network["ip_range"])
    assert {name for name, service in services.items() if "site" in service.get("networks", ())} == {
        "proxy",
        "gateway",
        "broadcaster",
    }
    assert [*services["proxy"]["networks"]] == ["site"]
    for name in ("gateway", "broadcaster"):
        trusted = TrustedProxies(load_settings(resolved(services[name]["environment"], **given)).trusted_proxies)
        assert trusted.trust(address)
        assert trusted.trust("2001:db8::1") == bool(given)
        assert not [each for each in ip_network(network["ip_range"]) if trusted.trust(str(each))]


def test_the_proxy_knows_the_services_by_their_ports(services: dict[str, Any]) -> None:
    caddyfile = (ROOT / "proxy" / "Caddyfile").read_text()
    settings = load_settings({})
    assert re.findall(r"reverse_proxy (?:@sockets )?(\S+) \{", caddyfile) == [
        f"broadcaster:{settings.ws_port}",
        f"gateway:{settings.http_port}",
    ]
    assert "./proxy:/etc/caddy:ro" in services["proxy"]["volumes"]


def test_an_idle_connection_is_closed_by_the_proxy_before_the_gateway_closes_it() -> None:
    """Or an order now and then would be sent into a connection that is just being closed."""
    kept = re.search(r"keepalive (\d+)s", (ROOT / "proxy" / "Caddyfile").read_text())
    assert kept is not None
    assert int(kept[1]) < _KEEP_ALIVE_SECONDS


def test_what_the_proxy_says_of_a_broken_connection_is_a_problem_as_the_gateway_writes_it() -> None:
    """It cannot know whether the order got through, so its answer is the one that says so."""
    said = re.search(r"respond `(.*)` (\d+)", (ROOT / "proxy" / "Caddyfile").read_text())
    assert said is not None
    problem = json.loads(said[1])
    assert problem == json.loads(Problem(code="result_unknown", detail=problem["detail"]).content)
    assert int(said[2]) == problem["status"]


def test_the_log_of_the_real_run_covers_every_part_and_every_profile(services: dict[str, Any]) -> None:
    """One that was added since has not been tried: `make compose-test ARGS=--write`."""
    log = (ROOT / "docs" / "compose-run.md").read_text()
    always = [name for name in RUNNING if "profiles" not in services[name]]
    assert [name for name in always if f"kill -9 {name}\n" not in log] == []
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())} - {"tools"}
    assert {profile for profile in profiles if f"the profile {profile}" not in log.lower()} == set()


# Users of NATS


def made_env(folder: Path) -> dict[str, str]:
    """What nats/make-env.sh makes."""
    subprocess.run(["sh", str(ROOT / "nats" / "make-env.sh"), str(folder / ".env")], check=True, timeout=30)
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_passwords_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    first = made_env(tmp_path)
    assert set(first) == {f"PRICETIME_NATS_PASSWORD_{user.upper()}" for user in PASSWORDS}
    assert all(re.fullmatch("p[0-9a-f]{40}", password) for password in first.values())
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert made_env(tmp_path) == first


def test_an_env_file_that_is_there_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=mine\nPRICETIME_NATS_PASSWORD_ADMIN=chosen\n")
    made = made_env(tmp_path)
    assert made["POSTGRES_PASSWORD"] == "mine"
    assert made["PRICETIME_NATS_PASSWORD_ADMIN"] == "chosen"
    assert len(made) == len(PASSWORDS) + 1


def test_three_nodes_know_one_another_and_the_services_know_them_all(services: dict[str, Any], tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "nats" / "make-env.sh"), str(tmp_path / ".env"), "cluster"]
    for _ in range(2):
        subprocess.run(command, check=True, timeout=30)
    lines = (tmp_path / ".env").read_text().splitlines()
    made = dict(line.split("=", 1) for line in lines)
    assert len(made) == len(lines), "something is there twice"
    nodes = ("nats", "nats-2", "nats-3")
    assert made["COMPOSE_PROFILES"] == "cluster"
    assert [name for name, each in services.items() if "cluster" in each.get("profiles", ()) and name in nodes] == [
        "nats-2",
        "nats-3",
    ]
    for number, name in enumerate(nodes, 1):
        environment = resolved(services[name]["environment"], **made)
        assert environment["PRICETIME_NATS_NAME"] == name
        routes = f"nats-route://routes:{made['PRICETIME_NATS_PASSWORD_ROUTES']}@{name}:6222"
        assert environment[f"PRICETIME_NATS_ROUTE_{number}"] == routes
        assert environment["PRICETIME_NATS_STORE"] == "/data/cluster", "the data of a single one must be left alone"
    settings = load_settings(resolved(services["matcher"]["environment"], **made))
    assert settings.replicas == 3
    assert [each.rpartition("@")[2] for each in servers_of(settings.nats_url)] == [f"{name}:4222" for name in nodes]
    assert servers_of(settings.nats_monitor_url) == [f"http://{name}:8222" for name in nodes]


def test_without_passwords_nothing_starts_and_it_says_what_to_do(services: dict[str, Any]) -> None:
    asked = {name: value for name, value in services["nats"]["environment"].items() if "PASSWORD" in str(value)}
    assert {name: value for name, value in asked.items() if "ROUTE" not in name} == {
        name: f"${{{name}:?run sh nats/make-env.sh}}"
        for name in (f"PRICETIME_NATS_PASSWORD_{user.upper()}" for user in USERS)
    }


def test_each_service_knows_its_own_password_only(services: dict[str, Any]) -> None:
    for name in SERVICES:
        known = set(re.findall(r"PRICETIME_NATS_PASSWORD_\w+", str(services[name])))
        assert known == {f"PRICETIME_NATS_PASSWORD_{name.upper()}"}


def test_the_operator_has_a_container_for_its_commands(services: dict[str, Any]) -> None:
    operator = services["operator"]
    assert operator["entrypoint"] == ["pricetime"]
    assert operator["profiles"] == ["tools"]  # not started with the others
    url = load_settings(resolved(operator["environment"])).nats_url
    assert url == "nats://operator:${PRICETIME_NATS_PASSWORD_OPERATOR}@nats:4222"


def test_the_passwords_stay_out_of_git_and_of_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"  # only what is named goes in


@pytest.mark.stack
def test_the_containers_have_the_same_users_with_the_same_rights(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files laid out as the volumes lay them out, and a real server on them, on ports of its own."""
    etc = {volume.split(":")[1]: volume.split(":")[0] for volume in services["nats"]["volumes"]}
    assert etc["/etc/pricetime"] == "./nats"
    assert services["nats-users"]["volumes"] == [f"{etc['/etc/pricetime-users']}:/data/.pricetime/nats-users"]
    monkeypatch.setenv("PRICETIME_NATS_OPEN", "false")
    assert main([*services["nats-users"]["entrypoint"][1:], "prepare", "--data", str(tmp_path)]) == 0
    assert main(["nats-users", "add", "anna", "--data", str(tmp_path)]) == 0
    (tmp_path / "nats-users").rename(tmp_path / "pricetime-users")
    shutil.copytree(ROOT / "nats", tmp_path / "pricetime")
    plan = nats_plan(tmp_path / "store")
    configuration = tmp_path / "pricetime" / "compose.conf"
    text = configuration.read_text().replace("server_name: pricetime", f"server_name: {plan.name}")
    text = text.replace("0.0.0.0:4222", f"127.0.0.1:{plan.port}").replace(
        "0.0.0.0:8222", f"127.0.0.1:{plan.monitor_port}"
    )
    configuration.write_text(text)
    passwords = made_env(tmp_path)
    program = Program(
        name="nats",
        command=(nats_executable(), "-c", str(configuration)),
        environment={"PRICETIME_NATS_STORE": str(tmp_path / "store"), **passwords},
    )
    server = NatsServer(program, tmp_path / "nats.log", plan)
    server.start()
    try:
        matcher = with_login(server.url, "matcher", passwords["PRICETIME_NATS_PASSWORD_MATCHER"])
        with PlainNats(matcher) as client:
            client.publish("journal", b"?")
            assert client.flush() == []
        with PlainNats(server.url) as client:
            client.subscribe("market.>")
            assert client.flush() == []
            client.publish("orders.place", b"?")
            assert client.flush() != []
        [anna] = list_logins(tmp_path / "pricetime-users")
        with PlainNats(with_login(server.url, anna.name, anna.password)) as client:
            client.subscribe("accounts.anna.orders")
            assert client.flush() == []
    finally:
        server.stop()


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
        assert server.wait(60) == -signal.SIGTERM
