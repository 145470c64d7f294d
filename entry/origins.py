"""Which page of a browser may talk to the exchange, judged by what the browser says: Host and Origin.

While there are no keys, whoever reaches the port may trade, and only this machine does (docs/decisions/0015). But a
browser on this machine runs other people's pages. One may send requests here from its own site, which the browser marks
with an Origin; or it may give its own name this machine's address (DNS rebinding), which shows in the Host. Programs
that are no browsers send no Origin, and a Host that is an address or `localhost`. docs/decisions/0026.
"""

import re
from collections.abc import Iterable

from entry.problems import Declined, declined, quoted
from runtime.settings import PREFIX, SettingsError

Headers = Iterable[tuple[bytes, bytes]]

_PORT = re.compile(r":\d*$")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]")
_REMEMBERED = 1_000


class Origins:
    """`allowed_hosts` and `cors_origins` as in the settings: separated by commas; `*` for any origin.

    Raises SettingsError for one that cannot be.
    """

    def __init__(self, allowed_hosts: str = "", cors_origins: str = "") -> None:
        self._hosts = frozenset(_host_name(each) for each in _listed(allowed_hosts))
        listed = [_origin(each) for each in _listed(cors_origins)]
        self.any_origin = "*" in listed
        self._origins = frozenset(each.encode() for each in listed)
        self._good_hosts: set[bytes] = set()

    def check_host(self, host: bytes, is_open: bool) -> None:
        """Raises Declined. `is_open`: whoever comes may do everything."""
        if host in self._good_hosts or not (is_open or self._hosts):
            return
        name = _host_name(host.decode("latin-1"))
        if name in self._hosts or _cannot_be_rebound(name):
            if len(self._good_hosts) < _REMEMBERED:
                self._good_hosts.add(host)
            return
        raise declined(
            "host_not_allowed",
            f"Nobody said that this server is {quoted(name)}. Use its address or localhost, or start it with "
            "PRICETIME_ALLOWED_HOSTS naming the host.",
        )

    def allows(self, origin: bytes) -> bool:
        """Whether the pages of this origin were let in by a setting."""
        return self.any_origin or origin in self._origins

    def check_page(self, origin: bytes, host: bytes) -> None:
        """Raises Declined for a page of another site that would change something while everything is open."""
        if self.allows(origin) or origin in (b"http://" + host, b"https://" + host):
            return
        raise _foreign(origin)

    def check_socket(self, headers: Headers, is_open: bool) -> None:
        """Of a WebSocket's handshake, for which a browser asks nobody. Raises Declined.

        Pages of this host may come, from whatever port: REST and WebSocket have one each.
        """
        found = {name: value for name, value in headers if name in (b"host", b"origin")}
        host = found.get(b"host", b"")
        if host:
            self.check_host(host, is_open)
        origin = found.get(b"origin")
        if not is_open or origin is None or self.allows(origin):
            return
        name = _host_name(origin.decode("latin-1").partition("://")[2])
        if not name or name != _host_name(host.decode("latin-1")):
            raise _foreign(origin)


def _foreign(origin: bytes) -> Declined:
    return declined(
        "origin_not_allowed",
        f"Pages of {quoted(origin.decode('latin-1'))} may not use this exchange: start it with "
        "PRICETIME_CORS_ORIGINS naming the origin, or make a key, which they would have to know.",
    )


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise SettingsError(
            f"{PREFIX}CORS_ORIGINS: {text!r} is no origin; give scheme and host, as in https://trade.example.com, or *"
        )
    return text


def _host_name(host: str) -> str:
    """Without port, and in lower case."""
    return _PORT.sub("", host).lower().rstrip(".")


def _cannot_be_rebound(name: str) -> bool:
    """An address is no name that somebody else could point here, and localhost is always here."""
    return name == "localhost" or name.endswith(".localhost") or _ADDRESS.fullmatch(name) is not None
