"""What an Access allows, with a problem for what it does not. Pure."""

from contracts.keys import Access, Scope
from contracts.messages import DEFAULT_ACCOUNT
from entry.problems import Declined, declined, quoted


def require(access: Access, scope: Scope) -> None:
    """Raises Declined: unauthorized for one without a key, forbidden for a key without the scope."""
    if _allows(access, scope):
        return
    if not access.scopes:
        raise declined(
            "unauthorized",
            "Send an API key, as in Authorization: Bearer pt_...; `pricetime keys create` makes one.",
        )
    raise declined("forbidden", f"The key needs the scope {scope.value}; it has {_listed(access)}.")


def trading_account(access: Access, account: str | None) -> str:
    """The account that an order is for: the one it names, or the only one that the access has. Raises Declined."""
    require(access, Scope.TRADE)
    account = reading_account(access, account)
    if not access.covers(account):
        raise not_covered(access, account)
    return account


def reading_account(access: Access, account: str | None) -> str:
    """The account that is meant, whether or not the access covers it: what is in others looks as if it were not."""
    if account is not None:
        return account
    visible = access.visible_accounts
    return visible[0] if visible is not None and len(visible) == 1 else DEFAULT_ACCOUNT


def not_covered(access: Access, account: str) -> Declined:
    own = ", ".join((access.visible_accounts or ())[:10]) or "none"
    return declined("forbidden", f"The account {quoted(account)} is not among yours: {own}.", "account")


def _allows(access: Access, scope: Scope) -> bool:
    if scope is Scope.ADMIN:
        return access.is_admin
    return access.may_trade_any if scope is Scope.TRADE else bool(access.scopes)


def _listed(access: Access) -> str:
    return ", ".join(sorted(scope.value for scope in access.scopes))
