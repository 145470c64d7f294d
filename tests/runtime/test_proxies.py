"""Whose word is taken for where a client is: that of the proxies that were named, as far as they reach."""

import random

import pytest

from runtime.proxies import TrustedProxies

PROXY = "10.0.0.1"
OURS = TrustedProxies("10.0.0.0/8, 2001:db8:1::/48,192.0.2.1")


def behind(*forwarded: str, trusted: TrustedProxies = OURS) -> str:
    return trusted.client_behind(PROXY, [each.encode("latin-1") for each in forwarded])


def test_nobody_is_trusted_unless_named() -> None:
    assert not TrustedProxies()
    assert not TrustedProxies(" , ")
    assert not TrustedProxies().trust("127.0.0.1")
    assert OURS


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8:1::7", True),
        ("2001:DB8:0001:0::7", True),
        ("2001:db8:2::7", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("localhost", False),
        ("", False),
        (None, False),
    ],
)
def test_addresses_are_compared_as_addresses(address: str | None, is_trusted: bool) -> None:
    assert OURS.trust(address) is is_trusted


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("203.0.113.7",), "203.0.113.7"),
        (("  203.0.113.7  ",), "203.0.113.7"),
        (("203.0.113.7:5000",), "203.0.113.7"),
        (("2001:db8:2::7",), "2001:db8:2::7"),
        (("2001:DB8:2:0::7",), "2001:db8:2::7"),
        (("[2001:db8:2::7]",), "2001:db8:2::7"),
        (("[2001:db8:2::7]:5000",), "2001:db8:2::7"),
        (("::ffff:203.0.113.7",), "203.0.113.7"),
    ],
)
def test_one_hop(forwarded: tuple[str, ...], client: str) -> None:
    """However it is written, it is one client with one limit."""
    assert behind(*forwarded) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("203.0.113.7, 10.1.1.1",), "203.0.113.7"),
        (("203.0.113.7", "10.1.1.1, 2001:db8:1::1"), "203.0.113.7"),
        (("203.0.113.7, 10.1.1.1:80, [2001:db8:1::1]:80",), "203.0.113.7"),
        (("10.9.9.9, 10.1.1.1",), "10.9.9.9"),  # somebody inside
    ],
)
def test_several_hops(forwarded: tuple[str, ...], client: str) -> None:
    assert behind(*forwarded) == client


@pytest.mark.parametrize(
    "made_up",
    [
        "198.51.100.1",
        "10.0.0.9",
        "127.0.0.1",
        "198.51.100.1, 10.0.0.9",
        "garbage",
        "",
        ",,,",
        "unknown",
        "::1",
        "x" * 10_000,
        "1.2.3.4" + ", 10.0.0.1" * 1_000,
        "\xff\xfe",
    ],
)
def test_what_a_client_writes_itself_changes_nothing(made_up: str) -> None:
    """The proxy adds where it came from, to the same header or in one more."""
    assert behind(f"{made_up}, 203.0.113.7") == behind(made_up, "203.0.113.7") == "203.0.113.7"


@pytest.mark.parametrize(
    "unreadable",
    [
        "unknown",
        "_hidden",
        "",
        "203.0.113",
        "203.0.113.7:",
        "203.0.113.7:port",
        "203.0.113.7:123456",
        "[2001:db8:2::7",
        "[2001:db8:2::7]5000",
        "[]",
        "203.0.113.7 x",
        "\xb2.0.0.1",
        "0" * 65,
    ],
)
def test_a_hop_that_cannot_be_read_is_whoever_passed_it_on(unreadable: str) -> None:
    """Nobody gets a limit of his own for it: all of them share that of the proxy."""
    assert behind(unreadable) == PROXY
    assert behind(f"203.0.113.7, {unreadable}") == PROXY
    assert behind(f"203.0.113.7, {unreadable}, 10.1.1.1") == "10.1.1.1"


def test_without_the_header_it_is_the_proxy() -> None:
    assert behind() == PROXY


def test_whatever_is_in_front_the_last_foreign_hop_counts() -> None:
    """Headers of random bytes, commas and addresses of ours among them."""
    chance = random.Random(45)
    pieces = [b",", b"10.0.0.1", b"[", b"]", b":", b"198.51.100.1", b" ", b"::1"]
    for _ in range(2_000):
        made_up = [
            b"".join(chance.choices([*pieces, chance.randbytes(3)], k=chance.randrange(12)))
            for _ in range(chance.randrange(4))
        ]
        hops = chance.choice([b"203.0.113.7", b"203.0.113.7:80, 10.0.0.1", b"203.0.113.7,[2001:db8:1::1]:80"])
        assert OURS.client_behind(PROXY, [*made_up, hops]) == "203.0.113.7", made_up


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("proxy", "'proxy' is no address or network"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("10.0.0.0/33", "'10.0.0.0/33' is no address or network"),
        ("127.0.0.1;10.0.0.1", "'127.0.0.1;10.0.0.1' is no address or network"),
        ("*", "'\\*' is no address or network"),
        ("0.0.0.0/0", "'0.0.0.0/0' would take anybody's word for who he is"),
        ("127.0.0.1,::/0", "'::/0' would take"),
    ],
)
def test_what_is_no_address_or_network_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrustedProxies(text)
