"""Keys as headers. The signature is that of docs/access.md, and good once."""

import hashlib
import hmac

import pytest

from pricetime_client.keys import Key

TEXT = "pt_0123456789ab_" + "5" * 64


def test_a_key_is_sent_as_it_is() -> None:
    assert Key(TEXT).headers("GET", "/orders", b"", 1) == {"Authorization": f"Bearer {TEXT}"}


def test_a_signed_request_shows_no_secret_and_is_signed_as_documented() -> None:
    headers = Key(TEXT, signed=True).headers("POST", "/orders?x=1", b'{"a":1}', 1_700_000_000_000)
    signing_key = hashlib.sha256(b"5" * 64).hexdigest().encode()
    signed = b'1700000000000\nPOST\n/orders?x=1\n{"a":1}'
    assert headers == {
        "Pricetime-Key": "pt_0123456789ab",
        "Pricetime-Timestamp": "1700000000000",
        "Pricetime-Signature": hmac.new(signing_key, signed, hashlib.sha256).hexdigest(),
    }


def test_two_equal_requests_of_one_millisecond_have_two_signatures() -> None:
    key = Key(TEXT, signed=True)
    first, second = (key.headers("GET", "/orders", b"", 1_000)["Pricetime-Signature"] for _ in range(2))
    assert first != second


def test_time_that_goes_back_is_not_used_twice() -> None:
    key = Key(TEXT, signed=True)
    times = [int(key.headers("GET", "/", b"", at)["Pricetime-Timestamp"]) for at in (1_000, 900, 1_001, 2_000)]
    assert times == [1_000, 1_001, 1_002, 2_000]


@pytest.mark.parametrize("text", ["", "pt_abc", "xx_abc_def", "pt__def", "pt_abc_", "pt_a_b_c"])
def test_what_cannot_be_a_key_is_named_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="pt_<id>_<secret>"):
        Key(text)
