"""Every `nats` line of docs/nats.md, carried out in the order of the page.

Goal: what is documented works, with the rights of the user that it is documented for. Method: each line is read as the
`nats` command line reads it, and what that would send is sent by a plain client to a whole running exchange.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.connection import without_password
from tests.support.plain_nats import Message, PlainNats, Refused, Silence
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

PAGE = (Path(__file__).parent.parent / "docs" / "nats.md").read_text()
TABLE_LINES = re.findall(r"`(nats [^`]+)`", PAGE)
BLOCK_LINES = [line for line in PAGE.splitlines() if line.startswith("nats ")]
LINES = sorted({*TABLE_LINES, *BLOCK_LINES}, key=PAGE.index)
GONE = {"unknown_order"}
"""Problems that a line may lead to: the order that it names has been canceled by an earlier one."""


@dataclass(frozen=True)
class Exchange:
    stack: Stack
    users: dict[str, str]

    @property
    def url(self) -> str:
        return without_password(self.stack.nats)

    def trade(self) -> None:
        """Something for every feed to tell of."""
        with PlainNats(self.url) as client:
            for side in (b"sell", b"buy"):
                order = b'{"side":"%s","price":"100.00","quantity":"1","account":"anna"}' % side
                assert problem(client.request("orders.place", order)) is None
        status = httpx.put(
            f"{self.stack.http}/instruments/BTC-USD/status", json={"status": "trading"}, trust_env=False, timeout=10
        )
        assert status.is_success, status.text


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with running_stack() as stack:
        pricetime(stack, "add", "anna")
        yield Exchange(stack, {name: pricetime(stack, "url", name) for name in ("anna", "operator", "admin")})


def pricetime(stack: Stack, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "cli.main", "nats-users", *arguments, "--data", str(stack.data)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def problem(answer: Message) -> str | None:
    return answer.headers.get("Nats-Service-Error")


def content(answer: Message) -> Any:
    found = json.loads(answer.payload)
    assert not (isinstance(found, dict) and "error" in found), found
    return found


# The command line


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser("nats", exit_on_error=False)
    found.add_argument("-s", dest="server", default="")
    found.add_argument("--inbox-prefix", default="_INBOX")
    commands = found.add_subparsers(dest="command", required=True)
    request = commands.add_parser("req")
    request.add_argument("subject")
    request.add_argument("body")
    request.add_argument("--replies", type=int, default=1)
    listen = commands.add_parser("sub")
    listen.add_argument("subject")
    listen.add_argument("--stream")
    listen.add_argument("--direct", action="store_true")
    listen.add_argument("--all", action="store_true")
    stream = commands.add_parser("stream")
    stream.add_argument("action", choices=["info", "get", "view", "ls"])
    stream.add_argument("name", nargs="?")
    stream.add_argument("sequence", nargs="?", type=int)
    stream.add_argument("--last-for")
    consumer = commands.add_parser("consumer")
    consumer.add_argument("action", choices=["add", "next", "rm"])
    consumer.add_argument("stream")
    consumer.add_argument("name")
    consumer.add_argument("--pull", action="store_true")
    consumer.add_argument("--defaults", action="store_true")
    consumer.add_argument("--count", type=int, default=1)
    consumer.add_argument("--force", action="store_true")
    micro = commands.add_parser("micro")
    micro.add_argument("action", choices=["ls", "info", "stats"])
    micro.add_argument("name", nargs="?")
    return found


@pytest.mark.parametrize("line", LINES)
def test_a_documented_line_does_what_it_says(line: str, exchange: Exchange) -> None:
    words = [
        exchange.users[word[1:]] if word.startswith("$") and word[1:] in exchange.users else word
        for word in shlex.split(line)
    ]
    asked = parser().parse_args(words[1:])
    with PlainNats(asked.server or exchange.url, asked.inbox_prefix) as client:
        COMMANDS[asked.command](client, asked, exchange)


def run_request(client: PlainNats, asked: argparse.Namespace, exchange: Exchange) -> None:
    if asked.replies == 0:
        exchange.trade()
        eventually(lambda: len(client.requests(asked.subject, asked.body.encode())) > 1)
        return
    answer = client.request(asked.subject, asked.body.encode())
    assert problem(answer) in (None, *GONE), answer
    assert answer.payload


def run_listen(client: PlainNats, asked: argparse.Namespace, exchange: Exchange) -> None:
    if asked.stream:
        exchange.trade()
        assert asked.direct
        question = json.dumps({"seq": 1, "batch": 10, "next_by_subj": asked.subject}).encode()
        eventually(
            lambda: any(
                answer.headers.get("Nats-Subject") == asked.subject
                for answer in client.requests(f"$JS.API.DIRECT.GET.{asked.stream}", question)
            )
        )
        return
    client.subscribe(asked.subject)
    assert client.flush() == []
    if asked.subject in ("matcher.taken_over", "keys.changed.>"):
        return  # that it may listen is all there is to see: nobody takes over, and a key would close the exchange
    exchange.trade()
    assert json.loads(client.next(10).payload)


def run_stream(client: PlainNats, asked: argparse.Namespace, exchange: Exchange) -> None:
    if asked.action == "ls":
        assert content(client.request("$JS.API.STREAM.LIST"))["total"] >= 5
    elif asked.action == "info":
        assert content(client.request(f"$JS.API.STREAM.INFO.{asked.name}"))["config"]["name"] == asked.name
    elif asked.action == "view":
        consume(client, asked.name, "", 10)
    else:
        exchange.trade()
        assert content(client.request(f"$JS.API.STREAM.INFO.{asked.name}"))["config"]["allow_direct"]
        if asked.last_for:
            subject, question = f"$JS.API.DIRECT.GET.{asked.name}.{asked.last_for}", b""
        else:
            subject, question = f"$JS.API.DIRECT.GET.{asked.name}", json.dumps({"seq": asked.sequence}).encode()
        eventually(lambda: client.request(subject, question).headers.get("Nats-Stream") == asked.name)


def run_consumer(client: PlainNats, asked: argparse.Namespace, exchange: Exchange) -> None:
    if asked.action == "rm":
        assert content(client.request(f"$JS.API.CONSUMER.DELETE.{asked.stream}.{asked.name}"))["success"]
    else:
        exchange.trade()
        consume(client, asked.stream, asked.name, asked.count)


def consume(client: PlainNats, stream: str, name: str, count: int) -> None:
    """Make the consumer (without a name: one that goes by itself) and take what it has."""
    config = {"deliver_policy": "all", "ack_policy": "explicit", "max_deliver": -1} | (
        {"durable_name": name, "name": name} if name else {}
    )
    subject = f"$JS.API.CONSUMER.CREATE.{stream}" + (f".{name}" if name else "")
    made = content(client.request(subject, json.dumps({"stream_name": stream, "config": config}).encode()))["name"]
    question = json.dumps({"batch": count, "expires": 2_000_000_000}).encode()
    taken = client.request(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made}", question)
    assert "Status" not in taken.headers
    assert json.loads(taken.payload)


IDENTITY = {"type", "name", "id", "version", "metadata"}
ENDPOINT = {"name", "subject", "queue_group"}
STATS = ENDPOINT | {"num_requests", "num_errors", "last_error", "processing_time", "average_processing_time"}


def run_micro(client: PlainNats, asked: argparse.Namespace, exchange: Exchange) -> None:
    """What the schemas of jsm.go ask for, by which the command line judges the answers."""
    verb = "STATS" if asked.action == "stats" else "INFO"
    answers = [content(each) for each in client.requests(f"$SRV.{verb}" + (f".{asked.name}" if asked.name else ""))]
    expected = {asked.name} if asked.name else {f"pricetime-{each}" for each in SERVICES}
    assert {answer["name"] for answer in answers} == expected
    for answer in answers:
        assert answer["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
        assert set(answer) == IDENTITY | ({"endpoints", "started"} if verb == "STATS" else {"endpoints", "description"})
        assert answer["endpoints"]
        assert all(set(each) == (STATS if verb == "STATS" else ENDPOINT) for each in answer["endpoints"])
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", each["name"]) for each in answer["endpoints"])


SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
COMMANDS: dict[str, Callable[[PlainNats, argparse.Namespace, Exchange], None]] = {
    "req": run_request,
    "sub": run_listen,
    "stream": run_stream,
    "consumer": run_consumer,
    "micro": run_micro,
}


def eventually(condition: Callable[[], bool]) -> None:
    """The stream is written a moment after the trade."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


# The rest of the page


def test_every_row_has_a_line_to_copy_or_says_where_to_look() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[a-z$A-Z_]+[.`]", line) and "users" not in line]
    users = {"market", "operator", "admin", "matcher"}
    subjects = [row for row in rows if re.findall(r"`([^`]+)`", row)[0] not in users]
    assert len(subjects) > 30
    for row in subjects:
        assert "`nats " in row or "](" in row, row


def test_what_is_asked_of_each_service_is_on_the_page(exchange: Exchange) -> None:
    text = PAGE.replace("<account>.orders.place", "*.orders.*")
    with PlainNats(exchange.url) as client:
        for answer in client.requests("$SRV.INFO"):
            for endpoint in content(answer)["endpoints"]:
                assert f"`{endpoint['subject']}`" in text


def test_the_hot_path_is_named_in_the_metadata(exchange: Exchange) -> None:
    with PlainNats(exchange.url) as client:
        assert "orders.submit" in content(client.request("$SRV.PING.pricetime-matcher"))["metadata"]


def test_an_account_sees_its_own_orders_and_nobody_elses(exchange: Exchange) -> None:
    pricetime(exchange.stack, "add", "ben")
    ben = pricetime(exchange.stack, "url", "ben")
    with PlainNats(exchange.users["anna"]) as anna_client, PlainNats(ben) as ben_client:
        for client in (anna_client, ben_client):
            for wanted in ("accounts.anna.orders", "accounts.ben.orders", "accounts.*.orders", "accounts.>", ">"):
                client.subscribe(wanted)
            client.flush()
        order = b'{"side":"buy","price":"1.00","quantity":"1"}'
        placed = content(anna_client.request("accounts.anna.orders.place", order))
        assert placed["account"] == "anna"
        update = json.loads(anna_client.next().payload)
        assert update["order"]["order_id"] == placed["order_id"]
        with pytest.raises(Silence):
            ben_client.next(1.5)


def test_a_login_that_is_removed_is_out_at_once(exchange: Exchange) -> None:
    pricetime(exchange.stack, "add", "carol")
    with PlainNats(pricetime(exchange.stack, "url", "carol")) as carol:
        carol.subscribe("market.>")
        assert carol.flush() == []
        pricetime(exchange.stack, "remove", "carol")
        with pytest.raises((Refused, ConnectionError)):
            carol.flush()


def test_no_password_is_on_a_command_line(exchange: Exchange) -> None:
    passwords = json.loads((exchange.stack.data / "nats-users" / "passwords.json").read_text()).values()
    commands = " ".join(word for each in exchange.stack.processes() for word in each.cmdline())
    assert not any(password in commands for password in passwords)
