"""What an access allows, role by role."""

import pytest

from contracts.keys import OPEN, PUBLIC, Access, Scope
from entry.permissions import reading_account, require, trading_account
from entry.problems import Declined

READER = Access(frozenset({Scope.READ}), ("anna",))
TRADER = Access(frozenset({Scope.READ, Scope.TRADE}), ("anna",))
TRADER_OF_TWO = Access(frozenset({Scope.TRADE}), ("anna", "ben"))
TRADER_OF_ALL = Access(frozenset({Scope.TRADE}))
ADMIN = Access(frozenset({Scope.ADMIN}), ())


@pytest.mark.parametrize(
    ("access", "read", "trade", "admin"),
    [
        (PUBLIC, "unauthorized", "unauthorized", "unauthorized"),
        (READER, None, "forbidden", "forbidden"),
        (TRADER, None, None, "forbidden"),
        (TRADER_OF_ALL, None, None, "forbidden"),
        (ADMIN, None, None, None),
        (OPEN, None, None, None),
    ],
)
def test_scopes(access: Access, read: str | None, trade: str | None, admin: str | None) -> None:
    for scope, code in ((Scope.READ, read), (Scope.TRADE, trade), (Scope.ADMIN, admin)):
        assert refusal(lambda scope=scope: require(access, scope)) == code


def refusal(attempt: object) -> str | None:
    assert callable(attempt)
    try:
        attempt()
    except Declined as error:
        return error.problem.code
    return None


@pytest.mark.parametrize(
    ("access", "named", "meant"),
    [
        (TRADER, None, "anna"),
        (TRADER, "anna", "anna"),
        (TRADER_OF_TWO, "ben", "ben"),
        (TRADER_OF_ALL, None, "default"),
        (TRADER_OF_ALL, "carl", "carl"),
        (ADMIN, "carl", "carl"),
        (OPEN, None, "default"),
    ],
)
def test_the_account_of_an_order(access: Access, named: str | None, meant: str) -> None:
    assert trading_account(access, named) == meant


@pytest.mark.parametrize(
    ("access", "named", "code"),
    [
        (PUBLIC, "anna", "unauthorized"),
        (READER, "anna", "forbidden"),
        (TRADER, "ben", "forbidden"),
        (TRADER, "default", "forbidden"),
        (TRADER_OF_TWO, None, "forbidden"),
    ],
)
def test_an_account_that_is_not_covered(access: Access, named: str | None, code: str) -> None:
    assert refusal(lambda: trading_account(access, named)) == code


def test_reading_never_tells_whether_an_account_is_there() -> None:
    assert reading_account(TRADER, "ben") == "ben"
    assert reading_account(TRADER, None) == "anna"
    assert reading_account(PUBLIC, None) == "default"
