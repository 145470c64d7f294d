"""An API key as the headers of a request: sent itself, or as a signature that is good for this request alone. Pure."""

import hashlib
import hmac


class Key:
    """`text`: pt_<id>_<secret>, as `pricetime keys create` shows it."""

    def __init__(self, text: str, *, signed: bool = False) -> None:
        parts = text.split("_")
        if len(parts) != 3 or parts[0] != "pt" or not all(parts):
            raise ValueError("an API key looks like pt_<id>_<secret>; `pricetime keys create` makes one")
        self._text = text
        self._id = f"pt_{parts[1]}"
        self._signing_key = hashlib.sha256(parts[2].encode()).hexdigest().encode()
        self._signed = signed
        self._last = 0

    def headers(self, method: str, target: str, body: bytes, milliseconds: int) -> dict[str, str]:
        """`target`: path and query exactly as sent. `milliseconds`: the time since 1970."""
        if not self._signed:
            return {"Authorization": f"Bearer {self._text}"}
        # A signature is good once, so two equal requests must not have the same time
        self._last = max(milliseconds, self._last + 1)
        signed = f"{self._last}\n{method}\n{target}\n".encode() + body
        return {
            "Pricetime-Key": self._id,
            "Pricetime-Timestamp": str(self._last),
            "Pricetime-Signature": hmac.new(self._signing_key, signed, hashlib.sha256).hexdigest(),
        }
