"""JSON shapes of what only the history can tell: an order's life, and an account as a whole. Pure."""

from msgspec import Struct

from contracts.messages import CancelReason, OrderStatus
from contracts.views import TradeView
from entry.views import AccountLimitsView


class OrderEventView(Struct, frozen=True, kw_only=True):
    """One event of an order's life, and the order's terms and fills after it.

    `event`: accepted, trade, amended, reduced (by self-trade prevention), triggered, canceled or expired. `trade` is
    the fill, or the trade that triggered the stop order; `reason` says why the order was canceled.
    """

    order_id: int
    sequence: int
    time: str
    event: str
    status: OrderStatus
    price: str | None
    stop_price: str | None
    quantity: str
    filled_quantity: str
    remaining_quantity: str
    priority_kept: bool | None
    reason: CancelReason | None
    trade: TradeView | None


class AccountView(Struct, frozen=True):
    """`deadline`: when the dead-man's switch cancels all orders, null while it is not armed.

    `positions`: bought less sold, by symbol.
    """

    account: str
    kill_switch: bool
    deadline: str | None
    limits: AccountLimitsView
    positions: dict[str, str]
