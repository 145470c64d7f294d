"""Whose web pages may come: judged by Host and Origin, which a page cannot choose."""

import pytest

from entry.origins import Origins
from entry.problems import Declined
from runtime.settings import SettingsError

HERE = [
    "localhost",
    "localhost:8000",
    "LOCALHOST:8000",
    "gateway.localhost",
    "127.0.0.1:8000",
    "[::1]:8000",
    "10.0.0.7",
]
ELSEWHERE = [
    "evil.example.com",
    "evil.example.com:8000",
    "localhost.evil.example.com",
    "evillocalhost",
    "x127.0.0.1",
    "127.0.0.1.evil.example.com",
    "1.2.3.4.5",
    "evil.example.com:127.0.0.1",
    "[evil]",
    "localhost:evil.example.com",
    "localhost@evil.example.com",
    "\xe9\xff",
]


def refusal_of(host: str, is_open: bool = True, allowed: str = "") -> str | None:
    try:
        Origins(allowed).check_host(host.encode("latin-1"), is_open)
    except Declined as error:
        return error.problem.code
    return None


@pytest.mark.parametrize("host", HERE)
def test_what_nobody_can_point_here_is_here(host: str) -> None:
    assert refusal_of(host) is None
    assert refusal_of(host, allowed="trade.example.com") is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_name_of_somebody_elses_is_not(host: str) -> None:
    assert refusal_of(host) == "host_not_allowed"
    assert refusal_of(host, is_open=False) is None
    for is_open in (True, False):
        assert refusal_of(host, is_open, "trade.example.com, api.example.com") == "host_not_allowed"


@pytest.mark.parametrize("host", ["trade.example.com", "api.example.com:8443", "TRADE.example.com."])
def test_a_name_that_was_given_is_ours(host: str) -> None:
    assert refusal_of(host, allowed=" Trade.example.com ,api.example.com:8000,,") is None


def test_any_number_of_hosts_is_remembered_within_bounds() -> None:
    origins = Origins()
    for number in range(3_000):
        origins.check_host(b"127.0.0.1:%d" % number, True)
    assert len(origins._good_hosts) == 1_000


def page_is_refused(origin: bytes, host: bytes = b"localhost:8000", allowed: str = "") -> bool:
    try:
        Origins(cors_origins=allowed).check_page(origin, host)
    except Declined as error:
        return error.problem.code == "origin_not_allowed"
    return False


def test_a_page_of_ours_may_change_things_and_others_may_not() -> None:
    assert not page_is_refused(b"http://localhost:8000")
    assert not page_is_refused(b"https://localhost:8000")
    for foreign in (b"http://localhost:9000", b"https://evil.example.com", b"null", b"", b"http://localhost:8000.evil"):
        assert page_is_refused(foreign), foreign
    assert not page_is_refused(b"https://desk.example.com", allowed="https://desk.example.com")
    assert page_is_refused(b"http://desk.example.com", allowed="https://desk.example.com")
    assert not page_is_refused(b"https://anywhere.example.com", allowed="*")


def socket_is_refused(origin: bytes | None, host: bytes = b"localhost:8001", is_open: bool = True) -> bool:
    headers = [(b"host", host), (b"accept", b"*/*"), *([(b"origin", origin)] if origin is not None else [])]
    try:
        Origins(cors_origins="https://desk.example.com").check_socket(headers, is_open)
    except Declined:
        return True
    return False


def test_a_page_of_this_host_may_open_a_socket_from_whatever_port() -> None:
    assert not socket_is_refused(None)
    assert not socket_is_refused(b"http://localhost:8000")
    assert not socket_is_refused(b"http://[::1]:8000", host=b"[::1]:8001")
    assert not socket_is_refused(b"https://desk.example.com")


@pytest.mark.parametrize(
    "origin",
    [b"https://evil.example.com", b"null", b"file://", b"", b"http://127.0.0.1:8000", b"http://localhost.evil"],
)
def test_a_page_of_another_host_may_not(origin: bytes) -> None:
    assert socket_is_refused(origin)
    assert not socket_is_refused(origin, is_open=False)  # it would have to know a key


def test_a_name_pointed_here_gets_no_socket_though_it_is_the_pages_own() -> None:
    assert socket_is_refused(b"http://evil.example.com:8001", host=b"evil.example.com:8001")


def test_without_a_host_an_origin_is_foreign() -> None:
    for origin in (b"http://evil.example.com", b"null", b""):
        with pytest.raises(Declined):
            Origins().check_socket([(b"origin", origin)], True)
    Origins().check_socket([], True)


@pytest.mark.parametrize("origin", ["desk.example.com", "https://", "https://desk.example.com/", "https://a b", "null"])
def test_what_is_no_origin_is_named(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"PRICETIME_CORS_ORIGINS: .* is no origin"):
        Origins(cors_origins=f"https://good.example.com,{origin}")
