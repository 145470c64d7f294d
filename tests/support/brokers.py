"""A nats-server as `pricetime up` starts it: with its users, their rights and passwords."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cli.broker_users import (
    BrokerUsers,
    add_login,
    prepare_broker_users,
    write_anyone,
    write_configuration,
)
from cli.servers import nats_configuration, nats_plan, nats_program
from tests.support.plain_nats import PlainNats
from tests.support.servers import NatsServer, temporary_folder, wait_until


@dataclass
class Broker:
    server: NatsServer
    users: BrokerUsers

    def url(self, user: str) -> str:
        """`anyone` brings no password."""
        return self.server.url if user == "anyone" else self.users.url(user, self.server.url)

    def connect(self, user: str) -> PlainNats:
        """Each with the inboxes that are its own; those who are not of the exchange have an account apart instead."""
        own = user in ("matcher", "recorder", "broadcaster", "gateway", "operator", "admin")
        return PlainNats(self.url(user), f"_INBOX_{user}" if own else "_INBOX")

    def let_anyone(self, *, may_trade: bool) -> None:
        write_anyone(self.users.folder, may_trade=may_trade)
        self.reload()

    def reload(self) -> None:
        before = self.server.log.read_text().count("Reloaded server configuration")
        os.kill(self.server.pid, signal.SIGHUP)
        assert wait_until(lambda: self.server.log.read_text().count("Reloaded server configuration") > before)


@contextmanager
def running_broker(*, may_trade: bool = True, logins: dict[str, str | None] | None = None) -> Iterator[Broker]:
    """`may_trade`: those without a password. `logins`: a name each, with its account or None for market data."""
    with temporary_folder() as folder:
        passwords = {
            name: add_login(folder / "nats-users", name, account).password for name, account in (logins or {}).items()
        }
        users = prepare_broker_users(folder / "nats-users")
        write_configuration(users, nats_configuration())
        write_anyone(users.folder, may_trade=may_trade)
        plan = nats_plan(folder / "nats")
        server = NatsServer(nats_program(plan, users), folder / "nats.log", plan)
        server.start()
        yield Broker(server, BrokerUsers(users.folder, users.passwords | passwords))
        server.stop()
