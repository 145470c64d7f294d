"""Every limit that a client can meet, as JSON: GET /limits."""

from msgspec import Struct

from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    MAX_BAND_BASIS_POINTS,
    MAX_COMMANDS,
    MAX_DELAY,
    MAX_FILLS,
    MAX_NOTIONAL,
    MAX_PRICE,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
)
from gateway import pages
from gateway.export import MAX_EXPORTS
from gateway.http import HttpAnswer, HttpRequest, json_answer, query
from gateway.routes import MAX_LEVELS, Route
from runtime.settings import Settings


class Limits(Struct, frozen=True, kw_only=True):
    """Prices are in ticks, quantities in lots and notionals in ticks times lots where the name says so."""

    max_body_bytes: int
    max_batch_items: int
    default_page_items: int
    max_page_items: int
    max_depth_levels: int
    max_price_ticks: int
    max_quantity_lots: int
    max_notional_ticks_lots: int
    max_fills: int
    """Makers that one order, or all orders of an all-or-nothing batch, may meet."""
    max_open_orders: int
    """Of the whole exchange."""
    max_waiting_commands: int
    """Beyond it the exchange answers overloaded."""
    max_cancel_all_after_seconds: int
    max_band_basis_points: int
    client_order_id_window: int
    """How many of the latest client order ids are remembered, over all accounts: a repeat of one of them is known."""
    requests_per_second: int
    """Of each key without a rate of its own, and of each address that brings no key; 0: any number."""
    signature_window_seconds: float
    """How far the timestamp of a signed request may be from the server's clock."""
    max_exports: int
    """That one gateway sends at the same time."""
    max_deferred_commands: int
    max_deferred_bytes: int
    deferred_patience_seconds: float
    """How long a deferred command may wait to be carried out."""
    deferred_results_seconds: float
    """How long the result of a deferred command is kept."""
    max_connections: int
    """Of one gateway; beyond it a connection is answered 503 and closed."""
    max_websocket_connections: int
    """Of one broadcaster."""
    max_connections_per_address: int
    """Of these; 0: any number."""
    request_seconds: float
    """How long a client may take to send a request, and to go on reading its answer."""
    max_requests_in_flight: int
    """That one gateway works on at once, of a kind: orders, reads, requests to be stored; a batch counts as several.
    Cancelations have a quarter more. Beyond it the exchange answers overloaded."""
    order_wait_seconds: float
    """How long an order waits for that before it is refused as overloaded; 0: not at all."""
    websocket_subscriptions: int
    """Of one connection."""
    websocket_requests_per_second: int
    """Of one connection."""
    command_timeout_seconds: float
    read_wait_seconds: float


def limits(settings: Settings) -> Limits:
    return Limits(
        max_body_bytes=settings.max_body_bytes,
        max_batch_items=MAX_COMMANDS,
        default_page_items=pages.DEFAULT_LIMIT,
        max_page_items=pages.MAX_LIMIT,
        max_depth_levels=MAX_LEVELS,
        max_price_ticks=MAX_PRICE,
        max_quantity_lots=MAX_QUANTITY,
        max_notional_ticks_lots=MAX_NOTIONAL,
        max_fills=MAX_FILLS,
        max_open_orders=MAX_RESTING_ORDERS,
        max_waiting_commands=settings.backlog_commands,
        max_cancel_all_after_seconds=MAX_DELAY // 1_000_000,
        max_band_basis_points=MAX_BAND_BASIS_POINTS,
        client_order_id_window=CLIENT_ORDER_ID_WINDOW,
        requests_per_second=settings.rate_limit,
        signature_window_seconds=settings.signature_window_seconds,
        max_exports=MAX_EXPORTS,
        max_deferred_commands=settings.deferred_commands,
        max_deferred_bytes=settings.deferred_bytes,
        deferred_patience_seconds=settings.deferred_patience_seconds,
        deferred_results_seconds=settings.deferred_results_seconds,
        max_connections=settings.http_connections,
        max_websocket_connections=settings.ws_connections,
        max_connections_per_address=settings.connections_per_address,
        request_seconds=settings.request_seconds,
        max_requests_in_flight=settings.requests_in_flight,
        order_wait_seconds=settings.order_wait_seconds,
        websocket_subscriptions=settings.ws_subscriptions,
        websocket_requests_per_second=settings.ws_requests_per_second,
        command_timeout_seconds=settings.command_timeout_seconds,
        read_wait_seconds=settings.read_wait_seconds,
    )


def limits_routes(settings: Settings) -> list[Route]:
    answer = json_answer(limits(settings))

    async def get_limits(request: HttpRequest) -> HttpAnswer:
        query(request)
        return answer

    return [Route("GET", "/limits", get_limits)]
