"""Keys and rates as problems: why a key gives no access, and how many requests may come. For REST and WebSocket."""

import time
from collections.abc import Callable

from contracts.keys import Access, KeyRefusal, TokenBucket
from entry.problems import Declined, Problem, declined

_MAX_ADDRESSES = 10_000
"""How many addresses that bring no key are counted apart; beyond it the one unseen for longest is forgotten."""

_HOW_TO_SIGN = "docs/access.md has it in Python and shell."
_CODES = {
    KeyRefusal.SIGNATURE_INVALID: "signature_invalid",
    KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW: "timestamp_outside_window",
    KeyRefusal.SIGNATURE_REPEATED: "signature_repeated",
}
_DETAILS = {
    KeyRefusal.UNKNOWN: "There is no such key; `pricetime keys list` shows which there are.",
    KeyRefusal.REVOKED: "The key was revoked; `pricetime keys create` makes another.",
    KeyRefusal.EXPIRED: "The key has expired; `pricetime keys create` makes another.",
    KeyRefusal.SIGNED_ONLY: f"This key is for signing and must not be sent itself: sign the request. {_HOW_TO_SIGN}",
    KeyRefusal.SIGNATURE_INVALID: (
        "The signature is not that of this request: timestamp, method, path with query, and body, byte for byte. "
        f"{_HOW_TO_SIGN}"
    ),
    KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW: (
        "The timestamp is not close enough to the server's clock, or is from before the server was started. Sign the "
        "request again."
    ),
    KeyRefusal.SIGNATURE_REPEATED: "This signature has been used. Sign the request again to send it again.",
}


def no_access(refusal: KeyRefusal) -> Declined:
    return declined(_CODES.get(refusal, "unauthorized"), _DETAILS[refusal])


def microseconds() -> int:
    """Of a clock that never goes back."""
    return time.monotonic_ns() // 1000


class RateLimits:
    """A bucket for each key, and for each address that brings none. `rate` is for those without a rate of their own."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._of_keys: dict[str, TokenBucket] = {}
        self._of_addresses: dict[str, TokenBucket] = {}

    def bucket(self, access: Access, address: str) -> TokenBucket | None:
        """None where there is no limit."""
        rate = self._rate if access.rate is None else access.rate
        if not rate:
            return None
        if access.key_id is not None:
            return self._of_keys.get(access.key_id) or self._of_keys.setdefault(
                access.key_id, TokenBucket(rate, microseconds())
            )
        return self._of_address(address, rate)

    def _of_address(self, address: str, rate: int) -> TokenBucket:
        bucket = self._of_addresses.pop(address, None) or TokenBucket(rate, microseconds())
        self._of_addresses[address] = bucket  # now the latest
        if len(self._of_addresses) > _MAX_ADDRESSES:
            del self._of_addresses[next(iter(self._of_addresses))]
        return bucket


def take(bucket: TokenBucket, cost: int = 1, clock: Callable[[], int] = microseconds) -> None:
    """Raises Declined, rate_limited, when so many requests may not come now."""
    now = clock()
    if bucket.take(cost, now):
        return
    seconds = max(1, bucket.seconds_until(cost, now))
    what = "One more" if cost == 1 else f"{cost} more"
    raise Declined(
        Problem(
            code="rate_limited",
            detail=f"At most {bucket.rate} requests a second. {what} may come in {seconds} s; nothing was done.",
        )
    )
