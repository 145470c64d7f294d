"""Who may do what: scopes, and the access that a key gives. Pure."""

from enum import Enum

from msgspec import Struct


class Scope(str, Enum):
    READ = "read"
    """See the orders and trades of the key's accounts."""
    TRADE = "trade"
    """Place, amend and cancel for the key's accounts; includes read."""
    ADMIN = "admin"
    """Everything, for every account: instruments, limits, kill switches."""


class Access(Struct, frozen=True):
    """What the one who asks may do. `accounts` is None for all of them."""

    scopes: frozenset[Scope]
    accounts: tuple[str, ...] | None = None
    key_id: str | None = None

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    @property
    def may_trade_any(self) -> bool:
        return self.is_admin or Scope.TRADE in self.scopes

    @property
    def visible_accounts(self) -> tuple[str, ...] | None:
        """Whose orders it may see or touch; None for everybody's."""
        return None if self.is_admin else self.accounts

    def covers(self, account: str) -> bool:
        return self.visible_accounts is None or account in self.visible_accounts

    def may_read(self, account: str) -> bool:
        return bool(self.scopes) and self.covers(account)

    def may_trade(self, account: str) -> bool:
        return self.may_trade_any and self.covers(account)


OPEN = Access(frozenset(Scope))
"""Without keys, whoever reaches the exchange (on loopback) may do everything."""
PUBLIC = Access(frozenset(), ())
"""Where keys are needed, one who brings none: public market data only."""
