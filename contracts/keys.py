"""Who may do what: the API keys, what they give access to, how requests are signed, and how many may come. Pure.

A key reads `pt_<id>_<secret>`. Of the secret only its SHA-256 is kept, and with that hash requests are signed: client
and server both can compute it, and the secret itself never has to travel. Times are microseconds since 1970.
"""

import hmac
import re
from enum import Enum
from hashlib import sha256

from msgspec import Struct, structs

ID_BYTES = 6
SECRET_BYTES = 32
"""Random bytes of an id and of a secret. As nobody can guess that many, a fast hash of the secret is enough."""


class Scope(str, Enum):
    READ = "read"
    """See the orders and trades of the key's accounts."""
    TRADE = "trade"
    """Place, amend and cancel for the key's accounts; includes read."""
    ADMIN = "admin"
    """Everything, for every account: instruments, limits, kill switches."""


class Access(Struct, frozen=True):
    """What the one who asks may do. `accounts` is None for all of them, `rate` is requests a second."""

    scopes: frozenset[Scope]
    accounts: tuple[str, ...] | None = None
    key_id: str | None = None
    rate: int | None = None

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    @property
    def may_trade_any(self) -> bool:
        return self.is_admin or Scope.TRADE in self.scopes

    @property
    def visible_accounts(self) -> tuple[str, ...] | None:
        """Whose orders it may see or touch; None for everybody's."""
        return None if self.is_admin else self.accounts

    def covers(self, account: str) -> bool:
        return self.visible_accounts is None or account in self.visible_accounts

    def may_read(self, account: str) -> bool:
        return bool(self.scopes) and self.covers(account)

    def may_trade(self, account: str) -> bool:
        return self.may_trade_any and self.covers(account)

    def includes(self, scope: Scope) -> bool:
        """Whether it may do what needs this scope, for some account at least."""
        if scope is Scope.READ:
            return bool(self.scopes)
        return self.may_trade_any if scope is Scope.TRADE else self.is_admin


OPEN = Access(frozenset(Scope))
"""Without keys, whoever reaches the exchange (on loopback) may do everything."""
PUBLIC = Access(frozenset(), ())
"""Where keys are needed, one who brings none: public market data only."""


class KeyRecord(Struct, frozen=True, kw_only=True):
    """A key as it is kept, in JSON. A revoked one stays: that keys are needed must not be forgotten."""

    id: str
    secret_hash: str
    scopes: tuple[Scope, ...]
    accounts: tuple[str, ...] | None
    created_at: int
    name: str = ""
    rate: int | None = None
    signed_only: bool = False
    expires_at: int | None = None
    revoked_at: int | None = None

    @property
    def access(self) -> Access:
        return Access(frozenset(self.scopes), self.accounts, self.id, self.rate)

    def revoked(self, time: int) -> "KeyRecord":
        return structs.replace(self, revoked_at=time)

    def ended(self, time: int) -> "KeyRefusal | None":
        """Why it is not good any more, if so."""
        if self.revoked_at is not None:
            return KeyRefusal.REVOKED
        if self.expires_at is not None and time >= self.expires_at:
            return KeyRefusal.EXPIRED
        return None


class KeyRefusal(str, Enum):
    """Why a key, or a signature, gives no access."""

    UNKNOWN = "unknown"
    """Not the form of a key, no such id, or another secret: which of these, a guesser is not told."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    SIGNED_ONLY = "signed_only"
    """The key itself was sent, but it was made for signing."""
    SIGNATURE_INVALID = "signature_invalid"
    TIMESTAMP_OUTSIDE_WINDOW = "timestamp_outside_window"
    SIGNATURE_REPEATED = "signature_repeated"


def format_key(key_id: str, secret: str) -> str:
    """The key as its owner is shown it, once."""
    return f"pt_{key_id}_{secret}"


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret; None if the text is no key."""
    found = _KEY(text)
    return (found[1], found[2]) if found else None


def parse_key_id(text: str) -> str | None:
    """The id, from `pt_<id>`, the bare id or a whole key; None if it is none of these."""
    found = _KEY_ID(text)
    return found[1] if found else None


_KEY = re.compile(rf"pt_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})").fullmatch
_KEY_ID = re.compile(rf"(?:pt_)?([0-9a-f]{{{2 * ID_BYTES}}})(?:_[0-9a-f]{{{2 * SECRET_BYTES}}})?").fullmatch


def hash_secret(secret: str) -> str:
    """Of the secret's characters, as 64 hexadecimal digits: what is kept, and what requests are signed with."""
    return sha256(secret.encode()).hexdigest()


def judge_key(record: KeyRecord | None, secret: str, time: int) -> Access | KeyRefusal:
    """What someone may do who sent the key itself."""
    if record is None or not hmac.compare_digest(hash_secret(secret), record.secret_hash):
        return KeyRefusal.UNKNOWN
    if (ended := record.ended(time)) is not None:
        return ended
    return KeyRefusal.SIGNED_ONLY if record.signed_only else record.access


# Signed requests


class SignedRequest(Struct, frozen=True):
    """A request as its signer saw it. `timestamp` is in milliseconds, as sent; `target` is path and query, as sent."""

    timestamp: str
    method: str
    target: bytes
    body: bytes

    @property
    def text(self) -> bytes:
        """What is signed. Newlines, which no address can hold, keep the parts from running into one another."""
        return b"\n".join((self.timestamp.encode(), self.method.encode(), self.target, self.body))

    @property
    def time(self) -> int | None:
        """In microseconds; None if the timestamp is not a number of milliseconds."""
        return int(self.timestamp) * 1000 if _MILLISECONDS(self.timestamp) else None


_MILLISECONDS = re.compile(r"[0-9]{1,15}").fullmatch


def sign(secret_hash: str, request: SignedRequest) -> str:
    return hmac.digest(secret_hash.encode(), request.text, "sha256").hex()


def judge_signed(
    record: KeyRecord | None, request: SignedRequest, signature: str, time: int, window: int
) -> Access | KeyRefusal:
    """What someone may do who signed this request, at most `window` microseconds ago or ahead."""
    if record is None:
        return KeyRefusal.UNKNOWN
    if request.time is None or abs(request.time - time) > window:
        return KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW
    if not hmac.compare_digest(sign(record.secret_hash, request).encode(), signature.encode()):
        return KeyRefusal.SIGNATURE_INVALID
    return record.ended(time) or record.access


class SeenSignatures:
    """Each signature is good once. Remembered as long as its timestamp stays within the window, twice that at most."""

    def __init__(self, window: int) -> None:
        self._period = 2 * window
        self._since = 0
        self._latest: set[str] = set()
        self._before: set[str] = set()

    def is_new(self, signature: str, time: int) -> bool:
        """True the first time."""
        if time - self._since >= self._period:
            self._before = self._latest if time - self._since < 2 * self._period else set()
            self._latest = set()
            self._since = time
        if signature in self._latest or signature in self._before:
            return False
        self._latest.add(signature)
        return True


# Rate limits


class TokenBucket:
    """How many requests may come: `rate` at once, and as many more each second.

    What costs more than a full bucket holds is let through by a full one, and leaves it in debt. Tokens are counted in
    millionths, so that a microsecond refills `rate` of them.
    """

    __slots__ = ("_level", "_time", "rate")

    def __init__(self, rate: int, time: int) -> None:
        self.rate = rate
        self._level = rate * _MILLION
        self._time = time

    def take(self, cost: int, time: int) -> bool:
        """Whether `cost` requests may come now; if so, they are taken out."""
        self._refill(time)
        if self._level < min(cost, self.rate) * _MILLION:
            return False
        self._level -= cost * _MILLION
        return True

    def remaining(self, time: int) -> int:
        self._refill(time)
        return max(0, self._level // _MILLION)

    def seconds_until(self, cost: int, time: int) -> int:
        """Whole seconds, rounded up, until `cost` requests may come."""
        self._refill(time)
        missing = min(cost, self.rate) * _MILLION - self._level
        return max(0, -(-missing // (self.rate * _MILLION)))

    def seconds_until_full(self, time: int) -> int:
        return self.seconds_until(self.rate, time)

    def _refill(self, time: int) -> None:
        if time > self._time:
            self._level = min(self.rate * _MILLION, self._level + (time - self._time) * self.rate)
            self._time = time


_MILLION = 1_000_000
