"""What is put together from encoded parts is what msgspec makes of the whole."""

import msgspec
import pytest

from contracts.packing import array_of


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 255, 256, 500, 65_535])
def test_an_array_of_encoded_items_is_the_encoded_array(count: int) -> None:
    items: list[object] = [number if number % 3 else ("text", number, None) for number in range(count)]
    assert array_of([msgspec.msgpack.encode(item) for item in items]) == msgspec.msgpack.encode(items)
