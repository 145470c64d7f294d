"""Where those who ask the gateway are sent for the WebSocket."""

from typing import Any

import pytest

from gateway.places import origin_of, socket_url
from runtime.settings import Settings, SettingsError


def asked(host: str | None = "127.0.0.1:8000", **more: str) -> Any:
    headers = [] if host is None else [(b"host", host.encode())]
    return {"headers": [*headers, *((name.replace("_", "-").encode(), value.encode()) for name, value in more.items())]}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:8000", "ws://127.0.0.1:8101/ws"),
        ("localhost", "ws://localhost:8101/ws"),
        ("[::1]:8000", "ws://[::1]:8101/ws"),
        ("trade.example.com", "ws://trade.example.com:8101/ws"),
    ],
)
def test_it_is_the_host_that_was_asked_with_the_port_of_the_websocket(host: str, url: str) -> None:
    assert socket_url(Settings(ws_port=8101))(asked(host)) == url


def test_with_a_certificate_it_is_tls() -> None:
    url_of = socket_url(Settings(ws_port=8101, tls_cert="cert.pem", tls_key="key.pem"))
    assert url_of(asked("trade.example.com")) == "wss://trade.example.com:8101/ws"


def test_a_path_is_one_of_the_origin_that_was_asked() -> None:
    url_of = socket_url(Settings(public_ws_url="/ws"))
    assert url_of(asked("trade.example.com:8443")) == "ws://trade.example.com:8443/ws"
    assert url_of(asked("trade.example.com", x_forwarded_proto="https")) == "wss://trade.example.com/ws"


@pytest.mark.parametrize(
    "given", ["wss://stream.example.com", "wss://stream.example.com/", "wss://stream.example.com/ws"]
)
def test_an_address_is_told_as_it_is(given: str) -> None:
    assert socket_url(Settings(public_ws_url=given))(asked()) == "wss://stream.example.com/ws"


@pytest.mark.parametrize("host", [None, "", "a b", "evil.example.com; script-src *", "evil'", "a:b:c", "a:123456", "é"])
def test_a_host_that_is_none_gets_nowhere(host: str | None) -> None:
    assert socket_url(Settings(http_host="127.0.0.1", ws_port=8101))(asked(host)) == "ws://127.0.0.1:8101/ws"


@pytest.mark.parametrize("given", ["https://a.example.com", "ws", "ws://", "ws://a b/ws", "ws://a/ws?key=1", "//a"])
def test_an_address_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="PUBLIC_WS_URL"):
        socket_url(Settings(public_ws_url=given))


def test_the_origin_of_an_address() -> None:
    assert origin_of("wss://trade.example.com:8443/ws") == "wss://trade.example.com:8443"
