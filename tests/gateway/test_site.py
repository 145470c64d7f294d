"""The pages for people come whole from this package, and may talk to nobody but the exchange."""

import gzip
import re
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest

from entry.problems import CODES
from entry.stream_codes import STREAM_CODES
from gateway.http import HttpAnswer, HttpRequest
from gateway.places import config_routes, socket_url
from gateway.routes import Route
from gateway.site import error_rows, served_files, site_routes, trading_page
from runtime.settings import Settings

STATIC = resources.files("gateway") / "static"
PAGES = ("home.html", "docs.html", "errors.html")
TRADE = sorted(each.name for each in (STATIC / "trade").iterdir())
OURS = (*PAGES, "home.js", "docs.js", "docs.css", "site.css", *(f"trade/{name}" for name in TRADE))
SETTINGS = Settings(ws_port=8101)
ROUTES = {route.path: route for route in site_routes("BTC-USD", socket_url(SETTINGS))}


async def get(route: Route, **headers: str) -> HttpAnswer:
    async def receive() -> Any:
        raise AssertionError("a page has no body to read")

    written = {"host": "127.0.0.1:8100", **headers}
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in written.items()]
    return await route.handle(HttpRequest({"headers": named, "query_string": b""}, receive, {}))


def loaded_by(page: str) -> list[str]:
    """What a browser fetches for it by itself: links of the text are not among them."""
    return re.findall(r'<(?:script|img|link)[^>]*? (?:src|href)="([^"]+)"', page)


def test_every_code_has_its_place_on_the_page_of_errors() -> None:
    codes = {**CODES, **STREAM_CODES}
    assert len(codes) == len(CODES) + len(STREAM_CODES)
    rows = error_rows()
    assert re.findall(r'<tr id="(\w+)">', rows) == sorted(codes, key=lambda name: (codes[name].status, name))


# What is loaded


@pytest.mark.parametrize("page", [*((STATIC / name).read_text() for name in PAGES), trading_page().decode()])
def test_pages_load_only_what_is_served_here(page: str) -> None:
    loaded = loaded_by(page)
    assert loaded
    assert set(loaded) <= ROUTES.keys()


def test_modules_import_only_what_is_served_here_and_preloaded() -> None:
    preloaded = loaded_by(trading_page().decode())
    imported: set[str] = set()
    for name in TRADE:
        if name.endswith(".js"):
            for target in re.findall(r'^(?:import|\}) .*?"(\.[^"]+)";$', (STATIC / "trade" / name).read_text(), re.M):
                up = target.startswith("../")
                imported.add(f"/static/{target[3:]}" if up else f"/static/trade/{PurePosixPath(target).name}")
    assert "/static/vendor/lightweight-charts/lightweight-charts.mjs" in imported
    assert len(imported) > 15
    assert imported <= ROUTES.keys()
    assert imported <= set(preloaded)


def test_all_of_the_trading_page_is_served() -> None:
    assert {f"trade/{name}" for name in TRADE if name != "index.html"} <= set(served_files())
    assert {f"/static/{name}" for name in served_files()} <= ROUTES.keys()


def test_our_scripts_and_styles_name_no_other_host() -> None:
    linked = {"trade/index.html": {"https://www.tradingview.com/"}}  # what the charts' licence asks for
    for name in OURS:
        found = re.findall(r"(?:https?|wss?)://[^\s\"'<]+", (STATIC / name).read_text())
        assert set(found) <= linked.get(name, {"http://127.0.0.1:8000"}), name


@pytest.mark.parametrize("name", [*PAGES, "trade/index.html"])
def test_nothing_is_written_into_a_page_that_its_policy_forbids(name: str) -> None:
    page = (STATIC / name).read_text()
    assert "<script>" not in page
    assert "<style" not in page
    assert not re.search(r"<[^>]+ (?:style|on\w+)=", page)


def test_text_from_the_exchange_is_never_made_html() -> None:
    for name in TRADE:
        if name.endswith(".js"):
            source = (STATIC / "trade" / name).read_text()
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source
            ), name


# How it is served


async def test_the_trading_page_may_talk_to_the_websocket_and_to_nobody_else() -> None:
    policy = dict((await get(ROUTES["/"])).headers)[b"content-security-policy"].decode()
    assert "connect-src 'self' ws://127.0.0.1:8101;" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_a_host_that_is_none_changes_no_policy() -> None:
    policy = dict((await get(ROUTES["/"], host="x; script-src *")).headers)[b"content-security-policy"].decode()
    assert "connect-src 'self' ws://127.0.0.1:8101;" in policy
    assert "*" not in policy


@pytest.mark.parametrize("path", ["/", "/about", "/docs", "/static/trade/main.js"])
async def test_a_page_that_a_browser_has_already_is_not_sent_again(path: str) -> None:
    first = await get(ROUTES[path])
    headers = dict(first.headers)
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-frame-options"] == b"DENY"
    again = await get(ROUTES[path], if_none_match=headers[b"etag"].decode())
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert dict(again.headers)[b"content-security-policy"] == headers[b"content-security-policy"]


async def test_a_browser_that_unpacks_is_sent_a_third_of_it() -> None:
    route = ROUTES["/static/vendor/lightweight-charts/lightweight-charts.mjs"]
    plain, packed = await get(route), await get(route, accept_encoding="gzip, deflate, br")
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    assert dict(packed.headers)[b"content-encoding"] == b"gzip"
    assert b"content-encoding" not in dict(plain.headers)
    assert {dict(each.headers)[b"vary"] for each in (plain, packed)} == {b"Accept-Encoding"}
    tags = [dict(each.headers)[b"etag"].decode() for each in (plain, packed)]
    assert tags[0] != tags[1]
    assert (await get(route, accept_encoding="gzip", if_none_match=tags[1])).status == 304
    assert (await get(route, accept_encoding="gzip", if_none_match=tags[0])).status == 200


async def test_kinds_of_files_are_named_as_a_browser_wants_them() -> None:
    for path, kind in (
        ("/static/trade/main.js", b"text/javascript; charset=utf-8"),
        ("/static/vendor/lightweight-charts/lightweight-charts.mjs", b"text/javascript; charset=utf-8"),
        ("/static/trade/trade.css", b"text/css; charset=utf-8"),
        ("/", b"text/html; charset=utf-8"),
    ):
        assert dict((await get(ROUTES[path])).headers)[b"content-type"] == kind


async def test_the_configuration_of_pages_and_clients() -> None:
    (route,) = config_routes(SETTINGS, "1.2.3")
    answer = await get(route, host="localhost:8100")
    assert msgspec.json.decode(answer.body) == {
        "ws_url": "ws://localhost:8101/ws",
        "default_symbol": "BTC-USD",
        "version": "1.2.3",
    }
    assert dict(answer.headers)[b"cache-control"] == b"no-store"
    assert route.scope is None


# What is vendored


def test_the_documentation_calls_no_validator() -> None:
    assert "validatorUrl: null" in (STATIC / "docs.js").read_text()


@pytest.mark.parametrize(
    ("name", "file", "major"),
    [("swagger-ui", "swagger-ui-bundle.js", "5."), ("lightweight-charts", "lightweight-charts.mjs", "5.")],
)
def test_the_vendored_parts_say_what_they_are(name: str, file: str, major: str) -> None:
    folder = STATIC / "vendor" / name
    version = (folder / "VERSION").read_text().split()[1].rstrip(",")
    assert version.startswith(major)
    assert version in (folder / file).read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_the_charts_are_credited_as_their_licence_asks() -> None:
    assert "https://www.tradingview.com/" in trading_page().decode()
    assert "TradingView" in (STATIC / "vendor" / "lightweight-charts" / "NOTICE").read_text()
