"""Who a client of /ws is: from the handshake's headers or query, or said later with `auth`."""

from collections.abc import Mapping

from msgspec import Struct

from broadcaster.protocol import Request
from contracts.keys import Access, KeyRefusal, SignedRequest, parse_key_id
from entry.bodies import missing, text
from entry.problems import Declined, declined
from runtime.keys import Keys

SIGNED_METHOD, SIGNED_TARGET = "GET", b"/ws"
"""What the signature of an `auth` message is made of, besides the timestamp: there is no body."""

_WHY = {
    KeyRefusal.UNKNOWN: "There is no such key. Check that it is whole: pt_, its id, and its secret.",
    KeyRefusal.REVOKED: "The key was revoked. Ask for another one.",
    KeyRefusal.EXPIRED: "The key has expired. Ask for another one.",
    KeyRefusal.SIGNED_ONLY: "This key signs requests and is not to be sent itself: send key_id, timestamp, signature.",
    KeyRefusal.SIGNATURE_INVALID: "The signature does not fit what it should have signed.",
    KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW: "The timestamp is too far from the server's clock. Milliseconds are expected.",
    KeyRefusal.SIGNATURE_REPEATED: "This signature was used before. Sign each request with a timestamp of its own.",
}


class Presented(Struct, frozen=True):
    """What someone shows at the door."""

    key: str | None = None
    key_id: str | None = None
    timestamp: str = ""
    signature: str = ""
    target: bytes = SIGNED_TARGET


def at_handshake(headers: Mapping[bytes, bytes], key: str | None, target: bytes) -> Presented:
    """A browser cannot set headers: so the `key` may be in the query, too. `target`: path and query as they came."""
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, bearer = authorization.partition(" ")
    if authorization:
        return Presented(key=bearer.strip() if scheme.lower() == "bearer" else authorization)
    if b"pricetime-key" in headers:
        return Presented(
            key_id=headers[b"pricetime-key"].decode("latin-1"),
            timestamp=headers.get(b"pricetime-timestamp", b"").decode("latin-1"),
            signature=headers.get(b"pricetime-signature", b"").decode("latin-1"),
            target=target,
        )
    return Presented(key=key)


class Doorkeeper:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @property
    def is_open(self) -> bool:
        """Whether whoever comes may do everything."""
        return not self._keys.required

    def admit(self, presented: Presented) -> Access:
        """Raises Declined (unauthorized) for a key or signature that is not good."""
        if presented.key is None and presented.key_id is None:
            return self._keys.anonymous
        found = self._found(presented)
        if isinstance(found, KeyRefusal):
            raise _unauthorized(found)
        return found

    def _found(self, presented: Presented) -> Access | KeyRefusal:
        if presented.key is not None:
            return self._keys.find(presented.key)
        key_id = parse_key_id(presented.key_id or "")
        if key_id is None:
            return KeyRefusal.UNKNOWN
        signed = SignedRequest(presented.timestamp, SIGNED_METHOD, presented.target, b"")
        return self._keys.find_signed(key_id, signed, presented.signature)

    def authenticate(self, request: Request) -> Access:
        """With an `auth` message: the key, or its id and a signature."""
        request.check_fields("key", "key_id", "timestamp", "signature")
        key, key_id = text(request.fields, "key"), text(request.fields, "key_id")
        if key is None and key_id is None:
            raise missing("key", "the API key, or key_id, timestamp and signature")
        timestamp = request.fields.get("timestamp", "")
        return self.admit(
            Presented(
                key=key,
                key_id=key_id,
                timestamp=timestamp if isinstance(timestamp, str) else "",
                signature=text(request.fields, "signature") or "",
            )
        )

    def is_good(self, access: Access) -> bool:
        return self._keys.is_good(access)

    def why_ended(self, access: Access) -> str:
        if access.key_id is None:
            return "Keys are needed now: come back with one."
        return f"The key pt_{access.key_id} was revoked, changed or has expired."


def _unauthorized(refusal: KeyRefusal) -> Declined:
    return declined("unauthorized", _WHY[refusal])
