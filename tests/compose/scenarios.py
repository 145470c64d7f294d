"""What has to work in containers. Each scenario begins with nothing and leaves nothing."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import trustme

from tests.compose.engine import Engine
from tests.compose.exchange import Exchange, expect
from tests.compose.log import Log
from tests.compose.visitor import visiting

T = TypeVar("T")

SERVICES = ("matcher", "recorder", "broadcaster", "gateway", "nats", "postgres")
_UP = "docker compose up --wait --wait-timeout 180"
_PS = "docker compose ps --format 'table {{.Service}}\t{{.Status}}'"


class Compose:
    """The project in the engine. `folder` is where it lies, seen from here."""

    def __init__(self, engine: Engine, log: Log, folder: Path) -> None:
        self._engine, self.log, self.folder = engine, log, folder
        self.root = engine.root
        self.without_image: list[str] = []

    def sh(self, line: str, *, keep: str | None = "", last: int = 12, fails: bool = False) -> str:
        return self.log.command(line, self._engine.shell(line), keep=keep, last=last, fails=fails)

    def up(self, options: str = "", services: str = "") -> None:
        """Everything, or these services and what they need, until it is healthy."""
        self.sh(f"{_UP.replace('compose', f'compose {options}'.rstrip(), 1)} {services}".rstrip(), keep=None)

    def show(self, options: str = "") -> None:
        self.sh(_PS.replace("docker compose", f"docker compose {options}".rstrip()), last=20)

    def introduce(self) -> None:
        self.log.section("The engine")
        self.sh("docker version --format '{{.Server.Version}}'")
        self.sh("docker compose version --short")
        self.sh("docker compose config --quiet", keep="make-env", last=1, fails=True)
        self.sh("sh nats/make-env.sh", keep=None)
        self.sh("docker compose build --quiet", keep=None)
        self.sh("docker images --filter dangling=false --format 'table {{.Repository}}:{{.Tag}}\t{{.Size}}'")
        for image in self.without_image:
            self.log.note(f"{image}: nothing of Debian's or PyPI's to make it from, so it is left out")

    def service_of(self, container: str) -> str:
        label = '{{index .Config.Labels "com.docker.compose.service"}}'
        return self._engine.ask("inspect", "--format", label, container)

    def kill(self, service: str) -> None:
        """kill -9 of the service's own program, not of its container, which Docker would take for our wish."""
        [container] = self._engine.ask("compose", "--profile", "*", "ps", "--quiet", service).split()
        pid = int(self._engine.ask("inspect", "--format", "{{.State.Pid}}", container))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        init = self._engine.ask("inspect", "--format", "{{.HostConfig.Init}}", container) == "true"
        os.kill(int(children[0]) if init else pid, signal.SIGKILL)
        self.log.note(f"kill -9 {service}")

    def state(self) -> str:
        parts = ("ps", "--all"), ("logs", "--no-color", "--tail", "15")
        shown = [self._engine.ask("compose", "--profile", "*", *part) for part in parts]
        checks = "{{.Name}}: {{if .State.Health}}{{json .State.Health.Log}}{{end}}"
        containers = self._engine.ask("ps", "--all", "--quiet").split()
        return "\n".join([*shown, self._engine.ask("inspect", "--format", checks, *containers)])

    def clear(self) -> None:
        """Containers, networks and volumes of all profiles, and the passwords."""
        self._engine.ask("compose", "--profile", "*", "down", "--volumes", "--timeout", "5", "--remove-orphans")
        (self.folder / "docker-compose.override.yml").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tls", ignore_errors=True)

    @contextmanager
    def variables(self, text: str) -> Iterator[None]:
        """Lines of .env, while it lasts."""
        env = self.folder / ".env"
        before = env.read_text()
        self.sh(f"cat >>.env <<'END'\n{text}\nEND", keep=None)
        yield
        self.clear()
        env.write_text(before)


def one_machine(compose: Compose) -> None:
    compose.log.section("Up, an order, a kill, down and up again")
    compose.up()
    compose.show()
    exchange = Exchange()
    _serves(compose, exchange)
    compose.sh("docker compose run --rm operator status", last=20)
    with visiting("http://localhost:8000") as visitor:
        visitor.sees_trade("100.00")
        compose.log.note("the page in a browser: live, and it shows the trades")
    compose.log.section("Each part is killed with kill -9, one after the other")
    for service in SERVICES:
        _survives_kill(compose, exchange, service)
    _streams(compose, exchange, "101.00")
    _down_and_up(compose, exchange)
    compose.clear()


def _serves(compose: Compose, exchange: Exchange) -> None:
    expect(exchange.get("/health/ready").status_code == 200, "the gateway to be ready")
    compose.log.note("GET /health/ready: 200")
    page = exchange.get("/")
    expect(page.status_code == 200 and "<html" in page.text.lower(), "a page", page.text[:100])
    sockets = exchange.read("/config.json")["ws_url"]
    compose.log.note(f"GET /: the page, {len(page.content)} bytes; it finds the WebSocket at {sockets}")
    met = exchange.trade("100.00")
    maker, taker, trade = met["maker"]["order_id"], met["taker"]["order_id"], met["trade"]
    compose.log.note(
        f"orders {maker} and {taker} made trade {trade['trade_id']}: {trade['quantity']} at {trade['price']}"
    )
    _streams(compose, exchange, "100.50")


def _streams(compose: Compose, exchange: Exchange, price: str) -> None:
    seen = exchange.trade_by_socket(price)
    _until(lambda: exchange.get(f"/orders/{seen['taker_order_id']}").status_code, lambda status: status == 200)
    compose.log.note(f"orders over WebSocket, and trade {seen['trade_id']} as it streamed: at {seen['price']}")


def _survives_kill(compose: Compose, exchange: Exchange, service: str) -> None:
    before = exchange.orders()
    started = time.monotonic()
    compose.kill(service)
    exchange.place("buy", "90.00", "1")
    answered = time.monotonic() - started
    _finds_all(exchange, before)
    compose.log.note(f"an order answered after {answered:.1f} s, all {len(before)} orders of before are there")
    compose.up()  # until it is healthy again


def _finds_all(exchange: Exchange, before: Mapping[int, object], patience: float = 60.0) -> None:
    """History shows every order of before; it may have to come back first."""
    deadline = time.monotonic() + patience
    while exchange.get("/orders?limit=1").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    missing = before.keys() - exchange.orders().keys()
    expect(not missing, "every order that was there", f"missing: {sorted(missing)[:10]}")


def _down_and_up(compose: Compose, exchange: Exchange) -> None:
    compose.log.section("Down and up again, with the data")
    before = exchange.orders()
    depth = exchange.read("/market/BTC-USD/depth")
    compose.sh("docker compose down", keep=None)
    compose.up()
    after = exchange.orders()
    expect(after == before, "the same orders after it", f"{len(before)} before, {len(after)} after")
    found = exchange.read("/market/BTC-USD/depth")
    expect((found["bids"], found["asks"]) == (depth["bids"], depth["asks"]), "the same depth", found)
    compose.log.note(f"the same {len(after)} orders, and the same depth")
    _serves(compose, exchange)


def keys(compose: Compose) -> None:
    compose.log.section("Others are let in once there is a key")
    compose.up()
    exchange = Exchange()
    exchange.place("buy", "99.00", "1")
    compose.sh("docker compose down", keep=None)
    with compose.variables("PRICETIME_PUBLISHED_HOST=0.0.0.0"):
        compose.sh("docker compose up --detach --wait --wait-timeout 30", keep="unhealthy|exited|error", fails=True)
        said = compose.sh("docker compose logs --no-log-prefix --tail 20 broadcaster", keep="no keys", last=1)
        expect("there are no keys" in said, "the reason why it does not serve", said)
        exchange.key = compose.sh(
            "docker compose run --rm --quiet-pull operator keys create --accounts anna --quiet", keep=None
        ).split()[-1]
        compose.up()
        stranger = Exchange()
        expect(stranger.get("/orders").status_code == 401, "401 without the key")
        compose.log.note("GET /orders without the key: 401")
        _serves(compose, exchange)
        compose.sh("docker compose run --rm nats-users add anna", last=3)
        compose.sh("docker compose kill -s HUP nats && docker compose kill -s HUP nats", keep=None)
        exchange.place("buy", "98.00", "1")


def standby(compose: Compose) -> None:
    compose.log.section("The profile standby")
    compose.up("--profile standby")
    compose.show("--profile standby")
    exchange = Exchange()
    exchange.trade("100.00")
    for _ in range(2):
        said = compose.sh("docker compose --profile standby run --rm operator handover", keep="goes on")
        [(host, _)] = re.findall(r" on (\w+) (goes) on", said)
        compose.sh(f"docker ps --filter id={host} --format '{{{{.Names}}}}'")
        serving = compose.service_of(host)
        compose.up("--profile standby")  # the one that gave up its place stands by again
        started = time.monotonic()
        compose.kill(serving)
        exchange.place("buy", "90.00", "1")
        compose.log.note(f"the other matcher answered an order {time.monotonic() - started:.2f} s later")
        compose.up("--profile standby")
    _serves(compose, exchange)
    compose.clear()


def cluster(compose: Compose) -> None:
    compose.log.section("Three nats-servers: the profile cluster")
    compose.sh("sh nats/make-env.sh cluster", keep=None)
    compose.up()
    compose.show()
    exchange = Exchange()
    _serves(compose, exchange)
    for node in ("nats", "nats-2", "nats-3"):
        _survives_kill(compose, exchange, node)
    _down_and_up(compose, exchange)
    compose.clear()
    (compose.folder / ".env").unlink()
    compose.sh("sh nats/make-env.sh", keep=None)


def proxy(compose: Compose) -> None:
    compose.log.section("One origin for page, REST and WebSocket: the profile proxy")
    compose.up("--profile proxy")
    compose.show("--profile proxy")
    exchange = Exchange("http://localhost", "ws://localhost")
    _serves(compose, exchange)
    compose.sh("docker compose --profile proxy stop gateway", keep=None)
    answer = exchange.place_once("buy", "90.00", "1")
    expect((answer.status_code, answer.json()["code"]) == (504, "result_unknown"), "a problem", answer.text)
    compose.log.note(f"an order meanwhile: {answer.status_code} {answer.json()['code']}")
    compose.up("--profile proxy")
    exchange.place("buy", "90.00", "1")
    compose.clear()
    _clients_of_the_proxy(compose)
    compose.log.section("The same with TLS", "For localhost Caddy has an authority of its own.")
    with compose.variables("COMPOSE_PROFILES=proxy\nPRICETIME_SITE=localhost"):
        compose.up()
        exchange = _behind_tls(compose)
        _serves(compose, exchange)
        plain = Exchange("http://localhost").get("/")
        expect(plain.status_code == 308, "to be sent to https", plain.status_code)
        compose.log.note(f"GET http://localhost/: {plain.status_code}, {plain.headers['location']}")
        with visiting("https://localhost") as visitor:
            compose.log.note("the page in a browser: live")
            for service, price in (("gateway", "102.00"), ("broadcaster", "103.00")):
                compose.kill(service)
                exchange.place("buy", "90.00", "1")
                compose.up()
                _streams(compose, exchange, price)
                visitor.sees_trade(price)
                visitor.sees_live()
                compose.log.note("the page, left open, shows that trade and is live again")


def _behind_tls(compose: Compose) -> Exchange:
    compose.sh("docker compose cp proxy:/data/caddy/pki/authorities/local/root.crt /tmp/root.crt", keep=None)
    exchange = Exchange("https://localhost", "wss://localhost", trust=str(compose.root / "tmp/root.crt"))
    config = exchange.read("/config.json")
    expect(config["ws_url"] == "wss://localhost/ws", "the page to be sent to the same origin", config)
    return exchange


_MADE_UP, _PROXY = "203.0.113.7", "10.231.84.14"
_VISITOR = f"""docker run --rm --network pricetime_site --entrypoint python pricetime -c '
import socket, urllib.request
headers = {{"Host": "localhost", "X-Forwarded-For": "{_MADE_UP}"}}
urllib.request.urlopen(urllib.request.Request("http://proxy/limits", headers=headers)).read()
print(socket.gethostbyname(socket.gethostname()))'"""


def _clients_of_the_proxy(compose: Compose) -> None:
    compose.log.section(
        "Who comes through the proxy", f"Each of these visitors says of itself that it is {_MADE_UP}; nobody is."
    )
    with compose.variables("COMPOSE_PROFILES=proxy\nPRICETIME_LOG_REQUESTS=true"):
        compose.up()
        for origin in ("http://localhost", "http://127.0.0.1:8000"):
            answer = httpx.get(f"{origin}/limits", headers={"X-Forwarded-For": _MADE_UP}, trust_env=False)
            compose.log.note(f"GET {origin}/limits: {answer.status_code}")
        visitor = compose.sh(_VISITOR).splitlines()[-1]
        said = compose.sh("docker compose logs --no-log-prefix gateway", keep="GET /limits", last=3)
        seen = re.findall(r"GET /limits 200 .*client=(\S+)", said)
        expect(len(seen) == 3 and seen[2] == visitor, f"three visitors, the last of them {visitor}", seen)
        expect(not {_MADE_UP, _PROXY} & {*seen}, "neither the proxy's address nor what they say", seen)


def tls(compose: Compose) -> None:
    """As docs/security.md says it: its override file, word by word, and a certificate; then with the proxy, too."""
    compose.log.section(
        "TLS of the exchange's own, without a proxy", "With the override file of [security](security.md#in-containers)."
    )
    _secure(compose)
    compose.up()
    compose.show()
    trust = str(compose.folder / "tls/fullchain.pem")
    _serves(compose, Exchange("https://localhost:8000", "wss://localhost:8001", trust))
    compose.sh("docker compose run --rm operator status", last=20)
    compose.clear()
    compose.log.section("Both: the profile proxy, and TLS of the exchange's own behind it", "With the same file.")
    with compose.variables("COMPOSE_PROFILES=proxy\nPRICETIME_SITE=localhost"):
        _secure(compose)
        compose.up()
        _serves(compose, _behind_tls(compose))
        _serves(compose, Exchange("https://localhost:8000", "wss://localhost:8001", trust))


def _write_override(compose: Compose, page: str) -> None:
    """As the page says it, word by word."""
    [override] = re.findall(r"`docker-compose\.override\.yml`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    (compose.folder / "docker-compose.override.yml").write_text(override)


def _secure(compose: Compose) -> None:
    _write_override(compose, (compose.folder / "docs/security.md").read_text())
    folder = compose.folder / "tls"
    folder.mkdir()
    make_certificate(folder)
    compose.log.note("tls/fullchain.pem and tls/privkey.pem are there, and docker-compose.override.yml")


def make_certificate(folder: Path) -> None:
    """For localhost, readable by the user of the containers."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    chain = [*leaf.cert_chain_pems, authority.cert_pem]
    (folder / "fullchain.pem").write_bytes(b"".join(each.bytes() for each in chain))
    leaf.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.chown(folder / name, 10001, 10001)


def observe(compose: Compose) -> None:
    compose.log.section("The profile observe", "Without Grafana, for which there is nothing to make an image from.")
    page = (compose.folder / "docs/observability.md").read_text()
    _write_override(compose, page)
    compose.log.note("docker-compose.override.yml: the recorder sees the disks of nats-server and Postgres")
    compose.up("--profile observe", services="gateway prometheus")
    compose.show("--profile observe")
    exchange = Exchange()
    _serves(compose, exchange)
    prometheus = Exchange("http://127.0.0.1:9090")
    targets = _until(lambda: _well_targets(prometheus), lambda found: {*found} >= {"matcher", "recorder", "gateway"})
    compose.log.note(f"Prometheus reads from {', '.join(sorted(targets))}")
    for query in (
        "max(pricetime_matcher_serving)",
        "max(pricetime_matcher_sequence)",
        'min(pricetime_nats_server_healthy{node="nats:8222"})',
        'max(pricetime_jetstream_stream_messages{stream="JOURNAL"})',
        "min(pricetime_postgres_up)",
        "max(pricetime_postgres_database_bytes)",
        'min(pricetime_disk_free_bytes{folder="nats"})',
        'min(pricetime_disk_free_bytes{folder="postgres"})',
    ):
        value = _until(partial(_value, prometheus, query), lambda found: found not in ("", "0"))
        compose.log.note(f"{query}: {value}")
    groups = prometheus.read("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    expect(bool(rules) and all(rule["health"] != "err" for rule in rules), "rules without errors", rules)
    compose.log.note(f"{len(rules)} rules loaded, none with an error")
    compose.clear()


def _well_targets(prometheus: Exchange) -> list[str]:
    active = prometheus.read("/api/v1/targets")["data"]["activeTargets"]
    return [each["labels"].get("part", "prometheus") for each in active if each["health"] == "up"]


def _value(prometheus: Exchange, query: str) -> str:
    result = prometheus.read(f"/api/v1/query?query={quote(query)}")["data"]["result"]
    return str(result[0]["value"][1]) if result else ""


def _until(ask: Callable[[], T], is_good: Callable[[T], bool], patience: float = 60.0) -> T:
    deadline = time.monotonic() + patience
    while not is_good(found := ask()):
        expect(time.monotonic() < deadline, "it within a minute", found)
        time.sleep(0.2)
    return found


SCENARIOS: Mapping[str, Callable[[Compose], None]] = {
    "one_machine": one_machine,
    "keys": keys,
    "standby": standby,
    "cluster": cluster,
    "proxy": proxy,
    "tls": tls,
    "observe": observe,
}
