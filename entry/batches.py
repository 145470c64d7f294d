"""Batches as people write them: a list of items, each an object that says what to do. Pure; raises Declined."""

from dataclasses import dataclass

from contracts.messages import (
    MAX_COMMANDS,
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    OrderCanceled,
    OrderCommand,
    OrderStatus,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
)
from contracts.views import Instrument, OrderView
from entry.bodies import Fields, fields_of, missing, wrong_type
from entry.commands import AMEND_FIELDS, PLACE_FIELDS
from entry.problems import Declined, declined, view
from entry.refusals import closed
from entry.views import BatchItemView

BATCH_FIELDS = ("items", "all_or_nothing")
ITEM_FIELDS: dict[str, tuple[str, ...]] = {
    "place": PLACE_FIELDS,
    "cancel": ("order_id",),
    "amend": ("order_id", *AMEND_FIELDS),
}
"""What an item may be, and the fields that it has then."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item as the command that it stands for. `instrument`: unknown of an order to cancel."""

    command: OrderCommand
    instrument: Instrument | None = None


def read_items(fields: Fields) -> list[object]:
    """The items of a batch, not looked into yet."""
    items = fields.get("items")
    if items is None:
        raise missing("items", 'a list such as [{"place": {...}}, {"cancel": {"order_id": 1}}]')
    if type(items) is not list:
        raise wrong_type("items", items, "an array")
    if not 1 <= len(items) <= MAX_COMMANDS:
        raise declined(
            RejectReason.INVALID_BATCH.value,
            f"A batch has 1 to {MAX_COMMANDS} items; this one has {len(items)}.",
            "items",
        )
    return items


def read_item(item: object) -> tuple[str, Fields]:
    """What an item asks for, and the fields of that."""
    fields = fields_of(item, ITEM_FIELDS, "Each item")
    if len(fields) != 1:
        raise declined("invalid_value", "Each item must have exactly one of place, cancel and amend.", "items")
    [(action, written)] = fields.items()
    return action, fields_of(written, ITEM_FIELDS[action], action)


def order_item(command: OrderCommand, order: OrderView) -> BatchItemView:
    return BatchItemView(201 if isinstance(command, PlaceOrder) else 200, order)


def problem_item(error: Declined) -> BatchItemView:
    return BatchItemView(error.problem.http_status, problem=view(error.problem))


def overtaken_item(command: OrderCommand, outcome: Outcome, sequence: int) -> BatchItemView:
    """The result of an item that an earlier one has made impossible: the order was filled, or canceled, by it."""
    assert isinstance(command, CancelOrder | AmendOrder)
    canceled = any(
        isinstance(event, OrderCanceled) and event.order.order_id == command.order_id for event in outcome.events
    )
    status = OrderStatus.CANCELED if canceled else OrderStatus.FILLED
    return problem_item(closed(command.order_id, status, sequence))


def placed_otherwise(command: AllOrNothing, order_id: int) -> tuple[Refusal, int]:
    """Its orders were all placed before, but not by this batch: what is wrong with which item."""
    item = next(
        number
        for number, each in enumerate(command.items)
        if isinstance(each, PlaceOrder) and each.client_order_id is not None
    )
    return Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", order_id), item
