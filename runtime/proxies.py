"""Who a client is when a proxy stands between: the address that the proxies which are trusted have passed on. Pure.

Each proxy adds the address of whoever came to it at the end of X-Forwarded-For. So it is read from its end, as far as
those who wrote it are trusted: what a client wrote there itself is further in front, and never reached
(docs/decisions/0045).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

FORWARDED_FOR = b"x-forwarded-for"

_Address = IPv4Address | IPv6Address
_MAX_LENGTH = 64
"""Of one address with a port: what is longer is none."""


class TrustedProxies:
    """`text`: addresses and networks (10.0.0.0/8) with commas between. Raises ValueError that says which is neither."""

    def __init__(self, text: str = "") -> None:
        self._networks = tuple(_network(part.strip()) for part in text.split(",") if part.strip())

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trust(self, address: str | None) -> bool:
        """Whether this is the address of a proxy that is trusted."""
        if not self._networks or address is None:
            return False
        found = _read(address)
        return found is not None and self._are_trusted(found)

    def client_behind(self, proxy: str, forwarded: Iterable[bytes]) -> str:
        """The last hop that is not trusted itself. `forwarded`: the values of X-Forwarded-For, as they came.

        Where a hop cannot be read, it is the proxy that passed it on: who sends garbage is counted with it.
        """
        client = proxy
        for hop in reversed(b",".join(forwarded).split(b",")):
            address = _hop(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self._are_trusted(address):
                break
        return client

    def _are_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


NOBODY = TrustedProxies()


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        why = f": {error}" if "/" in text else ""
        raise ValueError(f"{text!r} is no address or network{why}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} would take anybody's word for who he is")
    return network


def _hop(said: bytes) -> _Address | None:
    """One hop: an address, and perhaps a port, as in 192.0.2.7:5000 and [2001:db8::7]:5000."""
    if len(said) > _MAX_LENGTH or not said.isascii():
        return None
    text = said.decode()
    if text.startswith("["):
        text, closing, port = text[1:].partition("]")
        if not closing or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    return _read(text)


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isdigit() and len(text) <= len(":65535")


def _read(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address  # a socket for both kinds tells of 192.0.2.7 as ::ffff:192.0.2.7
