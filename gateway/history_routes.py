"""The addresses of the history: candles, what became of an order, accounts, and exports."""

from contracts.keys import Access, Scope
from contracts.views import OrderView
from entry import commands
from entry.permissions import not_covered
from entry.refusals import not_found
from gateway import candles, export, pages
from gateway.export import ORDERS, TRADES, Exports, Table
from gateway.http import HttpAnswer, HttpRequest, access_of, json_answer, query, seen_sequence
from gateway.pages import Query
from gateway.reads import Reads
from gateway.routes import Handle, Route
from gateway.views import AccountView

PAGE_FILTERS = ("limit", "cursor")


def history_routes(reads: Reads, exports: Exports) -> list[Route]:
    return [
        *_order_routes(reads),
        *_account_routes(reads),
        Route("GET", "/market/{symbol:str}/candles", _candles(reads)),
        Route("GET", "/export/orders", _export(reads, exports, ORDERS), Scope.READ),
        Route("GET", "/export/trades", _export(reads, exports, TRADES), Scope.READ),
    ]


def _order_routes(reads: Reads) -> list[Route]:
    async def visible_order(request: HttpRequest) -> OrderView:
        """The order in the path; raises Declined also when it is another's."""
        order_id = commands.order_id(request.path_params["order_id"])
        order = await reads.order(order_id, seen_sequence(request))
        if not access_of(request).may_read(order.account):
            raise not_found(order_id)
        return order

    async def history(request: HttpRequest) -> HttpAnswer:
        page = pages.next_page(query(request, PAGE_FILTERS))
        order = await visible_order(request)
        items, cursor = await reads.order_history(order.order_id, page, seen_sequence(request))
        return json_answer({"items": items, "next_cursor": cursor})

    async def trades(request: HttpRequest) -> HttpAnswer:
        asked = query(request, PAGE_FILTERS)
        order = await visible_order(request)
        page = pages.trades_page({**asked, "order_id": str(order.order_id)})
        items, cursor = await reads.trades(page, seen_sequence(request))
        return json_answer({"items": items, "next_cursor": cursor})

    return [
        Route("GET", "/orders/{order_id:str}/history", history, Scope.READ),
        Route("GET", "/orders/{order_id:str}/trades", trades, Scope.READ),
    ]


def _account_routes(reads: Reads) -> list[Route]:
    async def own_account(request: HttpRequest) -> AccountView:
        query(request)
        name = pages.name_filter(request.path_params["account"], "account")
        _check_may_read(access_of(request), name)
        return await reads.account(name, seen_sequence(request))

    async def account(request: HttpRequest) -> HttpAnswer:
        return json_answer(await own_account(request))

    async def limits(request: HttpRequest) -> HttpAnswer:
        return json_answer((await own_account(request)).limits)

    return [
        Route("GET", "/accounts/{account:str}", account, Scope.READ),
        Route("GET", "/accounts/{account:str}/limits", limits, Scope.READ),
    ]


def _candles(reads: Reads) -> Handle:
    async def answer(request: HttpRequest) -> HttpAnswer:
        asked = candles.candle_range(query(request, candles.FILTERS))
        items = await reads.candles(request.path_params["symbol"], asked, seen_sequence(request))
        return json_answer({"items": items})

    return answer


def _export(reads: Reads, exports: Exports, table: Table) -> Handle:
    async def answer(request: HttpRequest) -> HttpAnswer:
        asked = query(request, export.FILTERS)
        wanted = export.export(table, asked)
        visible = _visible(access_of(request), table, asked)
        await reads.catch_up(seen_sequence(request))
        return await exports.open(wanted.visible_to(visible))

    return answer


def _visible(access: Access, table: Table, asked: Query) -> tuple[str, ...] | None:
    """Trades are public; whose they are is not."""
    if "account" in asked:
        _check_may_read(access, asked["account"])
        return None
    return access.visible_accounts if table is ORDERS else None


def _check_may_read(access: Access, account: str) -> None:
    if not access.may_read(account):
        raise not_covered(access, account)
