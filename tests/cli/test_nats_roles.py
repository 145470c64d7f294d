"""Every subject against every user, on a real nats-server with the real configuration.

Goal: nobody may say or hear more than its part. Method: for each subject, each user tries to publish and to subscribe.
What counts is what the server does: a publish is allowed if the server does not refuse it; a subscription is worth
something if what an admin publishes inside the exchange's account arrives.

    M matcher  R recorder  B broadcaster  G gateway  O operator  A admin
    K market   N anna, login of account anna   S screen, login for market data   X anyone, without a password
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from cli.broker_users import LOGIN_CONNECTIONS, MAX_PAYLOAD
from contracts import subjects
from tests.support.brokers import Broker, running_broker
from tests.support.plain_nats import Message, NoResponders, PlainNats, Refused, Silence

pytestmark = pytest.mark.stack

USERS = {
    "M": "matcher",
    "R": "recorder",
    "B": "broadcaster",
    "G": "gateway",
    "O": "operator",
    "A": "admin",
    "K": "market",
    "N": "anna",
    "S": "screen",
    "X": "anyone",
}

# subject: who may publish, who hears it while nothing asks for keys
ROLES = {
    "journal": ("M", "A"),
    "orders.submit": ("BGOA", "MA"),
    "orders.place": ("OAX", "GA"),
    "orders.cancel": ("OAX", "GA"),
    "orders.amend": ("OAX", "GA"),
    "orders.cancel_all": ("OAX", "GA"),
    "orders.batch": ("OAX", "GA"),
    "orders.anything_else": ("OA", "A"),
    "accounts.anna.orders": ("BA", "OANX"),
    "accounts.ben.orders": ("BA", "OAX"),
    "accounts.anna.orders.place": ("OANX", "GA"),
    "accounts.anna.orders.cancel": ("OANX", "GA"),
    "accounts.anna.orders.amend": ("OANX", "GA"),
    "accounts.anna.orders.cancel_all": ("OANX", "GA"),
    "accounts.anna.orders.batch": ("OANX", "GA"),
    "accounts.anna.orders.anything_else": ("OA", "GA"),
    "accounts.ben.orders.place": ("OAX", "GA"),
    "accounts.ben.orders.cancel": ("OAX", "GA"),
    "accounts.ben.orders.amend": ("OAX", "GA"),
    "accounts.ben.orders.cancel_all": ("OAX", "GA"),
    "accounts.ben.orders.batch": ("OAX", "GA"),
    "commands.1": ("GA", "A"),
    "keys.changed.$KV.KEYS.1": ("A", "BGOA"),
    "matcher.status": ("MGOAX", "MA"),
    "matcher.state_hash": ("OA", "MA"),
    "matcher.instruments": ("BGOAX", "MA"),
    "matcher.order": ("BGOAX", "MA"),
    "matcher.taken_over": ("MA", "MBGOA"),
    "matcher.standby": ("MOA", "MA"),
    "matcher.handover": ("OA", "MA"),
    "matcher.lease_changed": ("MA", "MA"),
    "recorder.status": ("MRGOAX", "RA"),
    "recorder.commits": ("MBGOA", "RA"),
    "recorder.holds": ("MOA", "RA"),
    "recorder.position": ("RA", "RGOA"),
    "broadcaster.status": ("BGOAX", "BA"),
    "broadcaster.depth": ("GOAX", "BA"),
    "broadcaster.market": ("GOAX", "BA"),
    "market.BTC-USD.trades": ("BA", "OAKNSX"),
    "market.BTC-USD.book": ("BA", "OAKNSX"),
    "market.BTC-USD.ticker": ("BA", "OAKNSX"),
    "market.BTC-USD.candles.1m": ("BA", "OAKNSX"),
    "market.BTC-USD.status": ("BA", "OAKNSX"),
    "$SRV.PING": ("OAKNSX", "MRBGA"),
    "$SRV.INFO": ("OAKNSX", "MRBGA"),
    "$SRV.STATS": ("OAKNSX", "MRBGA"),
    "$SRV.PING.pricetime-gateway": ("OAKNSX", "MRBGA"),
    "$SRV.INFO.pricetime-gateway.1": ("OAKNSX", "MRBGA"),
    "$SRV.ANYTHING_ELSE": ("A", "A"),
    # JetStream: it is the server that hears these, so only publishing is looked at
    "$JS.API.INFO": ("OAKNSX", None),
    "$JS.API.STREAM.LIST": ("OA", None),
    "$JS.API.STREAM.INFO.JOURNAL": ("MRBGOA", None),
    "$JS.API.STREAM.CREATE.JOURNAL": ("MA", None),
    "$JS.API.STREAM.PURGE.JOURNAL": ("MA", None),
    "$JS.API.STREAM.MSG.GET.JOURNAL": ("MRBGOA", None),
    "$JS.API.DIRECT.GET.JOURNAL": ("OA", None),
    "$JS.API.CONSUMER.CREATE.JOURNAL": ("MRBGOA", None),
    "$JS.API.CONSUMER.CREATE.JOURNAL.one": ("OA", None),  # theirs have no name, and so do not stay
    "$JS.API.CONSUMER.DURABLE.CREATE.JOURNAL.one": ("OA", None),
    "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.one": ("MRBGOA", None),
    "$JS.API.CONSUMER.DELETE.JOURNAL.one": ("MRBGOA", None),
    "$JS.API.STREAM.CREATE.MARKET": ("BA", None),
    "$JS.API.STREAM.UPDATE.MARKET": ("BA", None),
    "$JS.API.STREAM.INFO.MARKET": ("BOAKNSX", None),
    "$JS.API.STREAM.MSG.GET.MARKET": ("OAKNSX", None),
    "$JS.API.DIRECT.GET.MARKET": ("OAKNSX", None),
    "$JS.API.DIRECT.GET.MARKET.market.BTC-USD.trades": ("OAKNSX", None),
    "$JS.API.CONSUMER.CREATE.MARKET": ("OA", None),
    "$JS.API.STREAM.CREATE.COMMANDS": ("GA", None),
    "$JS.API.STREAM.INFO.COMMANDS": ("GOA", None),
    "$JS.API.CONSUMER.CREATE.COMMANDS": ("OA", None),
    "$JS.API.CONSUMER.CREATE.COMMANDS.one": ("OA", None),
    "$JS.API.CONSUMER.CREATE.COMMANDS.dispatcher": ("GOA", None),
    "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.one": ("OA", None),
    "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.dispatcher": ("GOA", None),
    "$JS.ACK.COMMANDS.one.1.1.1.1.0": ("OA", None),
    "$JS.ACK.COMMANDS.dispatcher.1.1.1.1.0": ("GOA", None),
    "$JS.ACK.domain.hash.COMMANDS.dispatcher.1.1.1.1.0": ("GOA", None),
    "$JS.ACK.JOURNAL.one.1.1.1.1.0": ("OA", None),
    "$JS.API.STREAM.CREATE.KV_MATCHER": ("MA", None),
    "$JS.API.STREAM.MSG.GET.KV_MATCHER": ("MOA", None),
    "$JS.API.STREAM.CREATE.KV_KEYS": ("BGOA", None),
    "$JS.API.STREAM.INFO.KV_KEYS": ("BGOA", None),
    "$JS.API.STREAM.MSG.GET.KV_KEYS": ("BGOA", None),
    "$JS.API.STREAM.UPDATE.KV_KEYS": ("A", None),
    "$JS.API.STREAM.CREATE.KV_COMMAND_RESULTS": ("GA", None),
    "$KV.MATCHER.leader": ("MA", "A"),
    "$KV.KEYS.1": ("OA", "A"),
    "$KV.COMMAND_RESULTS.1": ("GA", "A"),
    # answers: everybody's are its own
    "_INBOX_matcher.1.1": ("MRA", "M"),
    "_INBOX_recorder.1.1": ("RA", "R"),
    "_INBOX_broadcaster.1.1": ("MRBGA", "B"),
    "_INBOX_gateway.1.1": ("MRBGA", "G"),
    "_INBOX_operator.1.1": ("MRBGOA", "O"),
    "_INBOX_admin.1.1": ("MRBGA", "A"),
    "_R_.1.1": ("MRBGA", ""),
    "$SYS.REQ.SERVER.PING": ("A", None),
    # `pricetime bench`
    "floor.echo": ("OA", "OA"),
    "$JS.API.STREAM.CREATE.FLOOR": ("OA", None),
    "$JS.API.STREAM.PURGE.FLOOR": ("OA", None),
}
DESTRUCTIVE = [
    *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("DELETE", "UPDATE") for stream in ("JOURNAL", "KV_KEYS")),
    "$JS.API.STREAM.PURGE.KV_KEYS",
    "$JS.API.STREAM.MSG.DELETE.JOURNAL",
    "$JS.API.STREAM.RESTORE.JOURNAL",
    "$JS.API.STREAM.SNAPSHOT.JOURNAL",
    "$JS.API.STREAM.DELETE.COMMANDS",
    "$JS.API.STREAM.DELETE.MARKET",
    "$JS.API.STREAM.CREATE.OTHER",
]
WITH_KEYS = {
    subject: (publish.replace("X", ""), hear if hear is None or "K" in hear else hear.replace("X", ""))
    if "K" not in publish
    else (publish, hear)
    for subject, (publish, hear) in ROLES.items()
}
"""As above, but one without a password is as `market`."""


LOGINS = {"anna": "anna", "ben": "ben", "screen": None}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker(logins=LOGINS) as started:
        yield started


@dataclass(frozen=True)
class Everybody:
    """All users, connected."""

    clients: dict[str, PlainNats]

    def may_publish(self, letter: str, subject: str) -> bool:
        client = self.clients[letter]
        client.publish(subject, b"?")
        errors = client.flush()
        assert all(each.startswith("Permissions Violation for Publish") for each in errors), errors
        return not errors

    def hears(self, letter: str, subject: str) -> bool:
        """What is said inside the exchange's account, whatever way it subscribes."""
        speaker = self.clients["M" if subject == "journal" else "A"]
        client = self.clients[letter]
        client.pending()
        numbers = [client.subscribe(wanted) for wanted in (subject, f"{subject.rsplit('.', 1)[0]}.>", ">")]
        client.flush()
        speaker.publish(subject, b"heard")
        assert speaker.flush() == []
        found = any(message.payload == b"heard" for message in client.pending())
        for number in numbers:
            client.unsubscribe(number)
        return found


@contextmanager
def everybody_of(broker: Broker) -> Iterator[Everybody]:
    with ExitStack() as opened:
        yield Everybody({letter: opened.enter_context(broker.connect(user)) for letter, user in USERS.items()})


@pytest.fixture(scope="module")
def everybody(broker: Broker) -> Iterator[Everybody]:
    with everybody_of(broker) as connected:
        yield connected


@pytest.fixture(scope="module")
def everybody_where_keys_are_needed() -> Iterator[Everybody]:
    with running_broker(may_trade=False, logins=LOGINS) as broker, everybody_of(broker) as connected:
        yield connected


def test_every_subject_is_in_the_table() -> None:
    named = {
        value.replace("*", "anna", 1).replace("*", "place").replace(">", "$KV.KEYS.1")
        for name, value in vars(subjects).items()
        if name.isupper() and "." in value and value != subjects.PUBLIC_MARKET_DATA
    }
    named -= {"commands.anna"}
    made = {
        subjects.account_orders("anna"),
        *(subjects.account_request("anna", each) for each in ("place", "cancel", "amend", "cancel_all", "batch")),
        subjects.market_trades("BTC-USD"),
        subjects.market_book("BTC-USD"),
        subjects.market_ticker("BTC-USD"),
        subjects.market_candles("BTC-USD", "1m"),
        subjects.market_status("BTC-USD"),
    }
    assert named | made <= set(ROLES)
    for stream in (subjects.JOURNAL_STREAM, subjects.COMMANDS_STREAM, subjects.MARKET_STREAM):
        assert f"$JS.API.STREAM.INFO.{stream}" in ROLES
    for bucket in (subjects.KEYS, subjects.COMMAND_RESULTS):
        assert f"$KV.{bucket}.1" in ROLES


@pytest.mark.parametrize("subject", ROLES)
def test_who_may_say_and_hear_it(subject: str, everybody: Everybody) -> None:
    _check(subject, ROLES[subject], everybody)


@pytest.mark.parametrize("subject", WITH_KEYS)
def test_where_keys_are_needed_one_without_a_password_only_reads(
    subject: str, everybody_where_keys_are_needed: Everybody
) -> None:
    _check(subject, WITH_KEYS[subject], everybody_where_keys_are_needed)


@pytest.mark.parametrize("subject", DESTRUCTIVE)
def test_only_an_admin_may_destroy(subject: str, everybody: Everybody) -> None:
    assert [USERS[each] for each in USERS if each != "A" and everybody.may_publish(each, subject)] == []


def _check(subject: str, roles: tuple[str, str | None], everybody: Everybody) -> None:
    publish, hear = roles
    assert "".join(letter for letter in USERS if everybody.may_publish(letter, subject)) == publish
    if hear is not None:
        assert "".join(letter for letter in USERS if everybody.hears(letter, subject)) == hear


# What an account's login reaches


def serve(client: PlainNats, *wanted: str) -> None:
    for each in wanted:
        client.subscribe(each)
    assert client.flush() == []


def answer(client: PlainNats, content: bytes) -> Message:
    request = client.next()
    client.publish(request.reply, content)
    assert client.flush() == []
    return request


def test_answers_go_to_the_account_that_asked_alone(broker: Broker) -> None:
    with broker.connect("gateway") as gateway, broker.connect("anna") as anna, broker.connect("ben") as ben:
        serve(gateway, "accounts.*.orders.*")
        for other in (anna, ben):
            serve(other, "_INBOX.>")
        anna.ask("accounts.anna.orders.place", b"order")
        assert answer(gateway, b"placed").subject == "accounts.anna.orders.place"
        assert [message.payload for message in anna.pending()] == [b"placed", b"placed"]
        assert ben.pending() == []


@pytest.mark.parametrize("name", ["anna", "screen", "anyone", "market"])
def test_nobody_else_can_have_an_answer_sent_into_the_exchange(name: str, broker: Broker) -> None:
    """Whoever asks says where the answer goes: as `journal` it would be a commit."""
    with broker.connect(name) as client, broker.connect("admin") as admin, broker.connect("gateway") as gateway:
        serve(admin, "journal", "market.>", "accounts.>")
        serve(gateway, "$SRV.PING")
        for reply in ("journal", "orders.submit", "market.BTC-USD.trades", "accounts.ben.orders.place"):
            client.publish("$SRV.PING", b"", reply)
            client.publish("$JS.API.INFO", b"", reply)
        client.flush()
        for _ in range(4):
            answer(gateway, b"an answer")
        assert admin.pending() == []


def test_a_login_reads_history_and_can_make_no_consumer(broker: Broker) -> None:
    with broker.connect("admin") as admin, broker.connect("screen") as screen:
        stream = (
            b'{"name":"MARKET","subjects":["market.*.trades","market.*.candles.*"],"storage":"memory",'
            b'"retention":"limits","max_age":0,"allow_direct":true,"num_replicas":1}'
        )
        assert b'"error"' not in admin.request("$JS.API.STREAM.CREATE.MARKET", stream).payload
        for number in range(3):
            admin.request("market.BTC-USD.trades", b"trade %d" % number)
        assert b'"messages":3' in screen.request("$JS.API.STREAM.INFO.MARKET").payload
        assert b'"seq":2' in screen.request("$JS.API.STREAM.MSG.GET.MARKET", b'{"seq":2}').payload
        assert screen.request("$JS.API.DIRECT.GET.MARKET", b'{"seq":3}').payload == b"trade 2"
        history = screen.requests("$JS.API.DIRECT.GET.MARKET", b'{"seq":1,"batch":10}')
        assert [each.payload for each in history] == [b"trade 0", b"trade 1", b"trade 2", b""]
        with pytest.raises(Refused, match=r"CONSUMER\.CREATE\.MARKET"):
            screen.request("$JS.API.CONSUMER.CREATE.MARKET", b"{}")


# Changes while it runs


def test_closing_ends_what_those_without_a_password_had(broker: Broker) -> None:
    with broker.connect("anyone") as before, broker.connect("gateway") as gateway, broker.connect("admin") as admin:
        serve(gateway, "orders.place")
        serve(before, "accounts.*.orders", "market.>")
        broker.let_anyone(may_trade=False)
        try:
            before.publish("orders.place", b"?")
            assert [each for each in before.flush() if "Publish" in each]
            admin.publish("accounts.anna.orders", b"private")
            admin.publish("market.BTC-USD.trades", b"public")
            admin.flush()
            assert [message.payload for message in before.pending()] == [b"public"]
        finally:
            broker.let_anyone(may_trade=True)
        before.ask("orders.place", b"again")
        assert answer(gateway, b"placed").payload == b"again"


def test_a_reload_disconnects_nobody(broker: Broker) -> None:
    with broker.connect("matcher") as matcher, broker.connect("gateway") as gateway:
        serve(matcher, "orders.submit")
        broker.let_anyone(may_trade=False)
        broker.let_anyone(may_trade=True)
        gateway.ask("orders.submit", b"commands")
        assert answer(matcher, b"answers").payload == b"commands"
        assert [message.payload for message in gateway.pending()] == [b"answers"]


def test_a_wrong_password_is_refused(broker: Broker) -> None:
    for user in ("matcher", "admin", "anna", "nobody"):
        with pytest.raises(Refused, match="Authorization"):
            PlainNats(broker.server.url.replace("://", f"://{user}:wrong@"))


def test_nobody_answers_is_told_across_accounts(broker: Broker) -> None:
    with broker.connect("anna") as anna, pytest.raises(NoResponders):
        anna.request("accounts.anna.orders.amend", b"{}")
    with broker.connect("anna") as anna, pytest.raises((Refused, Silence), match="Permissions"):
        anna.request("accounts.ben.orders.amend", b"{}")


# How much


def test_a_login_does_not_take_all_the_room(broker: Broker) -> None:
    """The server has room for more than a login may take, so the exchange's own always find some."""
    with ExitStack() as opened:
        for _ in range(LOGIN_CONNECTIONS):
            opened.enter_context(broker.connect("ben"))
        with pytest.raises((Refused, ConnectionError)):
            opened.enter_context(broker.connect("ben"))
        assert "maximum account active connections exceeded" in broker.server.log.read_text()
        opened.enter_context(broker.connect("anna"))
        opened.enter_context(broker.connect("gateway"))


def test_nor_does_one_with_subscriptions_or_with_one_message(broker: Broker) -> None:
    with broker.connect("screen") as screen:
        for number in range(50 * LOGIN_CONNECTIONS + 1):
            screen.subscribe(f"market.X{number}.trades")
        assert [each for each in screen.flush() if "maximum subscriptions exceeded" in each]
    with broker.connect("screen") as screen, pytest.raises((Refused, ConnectionError)):
        screen.request("$SRV.PING", b"x" * (MAX_PAYLOAD + 1))
    assert "maximum payload exceeded" in broker.server.log.read_text()
