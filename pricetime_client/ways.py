"""How a request about orders is put: to REST, or to the WebSocket connection of a stream. Pure.

Answers are the same either way, so that whoever reads them need not know which it was.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from pricetime_client.asking import Request, Spoken
from pricetime_client.fields import Number, target, written


class OverRest:
    def place(self, order: Mapping[str, Any]) -> Request:
        return as_json("POST", "/orders", order, order["client_order_id"])

    def amend(self, order: int | str, account: str | None, changes: Mapping[str, Any]) -> Request:
        return as_json("PUT", order_target(order, account), changes)

    def cancel(self, order: int | str, account: str | None) -> Request:
        return Request(method="DELETE", target=order_target(order, account))

    def cancel_all(self, filters: Mapping[str, Any]) -> Request:
        return Request(method="DELETE", target=target("/orders", query=filters))

    def batch(self, body: Mapping[str, Any]) -> Request:
        return as_json("POST", "/orders/batch", body)

    def cancel_all_after(self, account: str, seconds: Number) -> Request:
        return as_json("PUT", target("/accounts/{}/cancel-all-after", account), {"seconds": seconds})


class OverSocket:
    def place(self, order: Mapping[str, Any]) -> Spoken:
        return Spoken(op="place", fields=written(order), client_order_id=order["client_order_id"])

    def amend(self, order: int | str, account: str | None, changes: Mapping[str, Any]) -> Spoken:
        return Spoken(op="amend", fields=written({**_named(order, account), **changes}))

    def cancel(self, order: int | str, account: str | None) -> Spoken:
        return Spoken(op="cancel", fields=written(_named(order, account)))

    def cancel_all(self, filters: Mapping[str, Any]) -> Spoken:
        return Spoken(op="cancel_all", fields=written(filters))

    def batch(self, body: Mapping[str, Any]) -> Spoken:
        return Spoken(op="batch", fields=written(body))

    def cancel_all_after(self, account: str, seconds: Number) -> Spoken:
        return Spoken(op="cancel_all_after", fields=written({"account": account, "seconds": seconds}))

    def cancel_on_disconnect(self, *, enabled: bool) -> Spoken:
        return Spoken(op="cancel_on_disconnect", fields={"enabled": enabled})


def as_json(method: str, address: str, fields: Mapping[str, Any], name: str | None = None) -> Request:
    """`name`: the client_order_id of the order that it places."""
    return Request(method=method, target=address, body=msgspec.json.encode(written(fields)), client_order_id=name)


def order_target(order: int | str, account: str | None) -> str:
    """`order`: its order_id, or its client_order_id within the account."""
    if isinstance(order, int):
        return target("/orders/{}", order)
    return target("/orders/by-client-id/{}", order, query={"account": account})


def _named(order: int | str, account: str | None) -> dict[str, Any]:
    return {"order_id": order} if isinstance(order, int) else {"client_order_id": order, "account": account}
