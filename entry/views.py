"""The JSON of answers that only order entry gives; orders themselves are in contracts/views.py."""

from msgspec import UNSET, Struct, UnsetType

from contracts.messages import SetAccountLimits, SymbolLimits
from contracts.views import Instrument, OrderView
from entry.problems import ProblemView


class BatchItemView(Struct, frozen=True):
    """What became of one item: `status` is the HTTP status that it would have had alone."""

    status: int
    order: OrderView | UnsetType = UNSET
    problem: ProblemView | UnsetType = UNSET


class BatchView(Struct, frozen=True):
    """The results in the order of the items. `sequence`: the last commit that they rest on."""

    items: list[BatchItemView]
    sequence: int


class CanceledView(Struct, frozen=True):
    """How many orders were canceled."""

    canceled: int
    sequence: int


class ReplacedView(Struct, frozen=True):
    """The order that went and the one that came in its place."""

    canceled: OrderView
    placed: OrderView
    sequence: int


class CancelAllAfterView(Struct, frozen=True):
    """When every order of the account will be canceled; null: the switch is disarmed."""

    account: str
    deadline: str | None
    sequence: int


class SymbolLimitsView(Struct, frozen=True):
    """Null is no limit."""

    max_order_quantity: str | None
    max_order_notional: str | None
    max_position: str | None


class AccountLimitsView(Struct, frozen=True):
    """Null is no limit."""

    account: str
    max_open_orders: int | None
    symbols: dict[str, SymbolLimitsView]


class KillSwitchView(Struct, frozen=True):
    account: str
    engaged: bool


def account_limits_view(command: SetAccountLimits, instruments: dict[str, Instrument]) -> AccountLimitsView:
    return AccountLimitsView(
        command.account,
        command.max_open_orders,
        {limits.symbol: symbol_limits_view(limits, instruments[limits.symbol]) for limits in command.symbols},
    )


def symbol_limits_view(limits: SymbolLimits, instrument: Instrument) -> SymbolLimitsView:
    lot, notional = instrument.lot, instrument.notional
    most, value, position = limits.max_order_quantity, limits.max_order_notional, limits.max_position
    return SymbolLimitsView(
        None if most is None else lot.format(most),
        None if value is None else notional.format(value),
        None if position is None else lot.format(position),
    )
