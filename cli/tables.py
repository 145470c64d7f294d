"""Columns for people, as plain text: they are read by eye, by grep and by awk alike. Pure."""

from collections.abc import Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Lines of equal columns under their heading; those named in `right` are flush right.

    >>> columns(("ID", "SIDE"), [("7", "buy"), ("12", "sell")], right=("ID",))
    ['ID  SIDE', ' 7  buy', '12  sell']
    """
    every = [head, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    flush = [str.rjust if name in right else str.ljust for name in head]
    return [
        "  ".join(align(text, width) for align, text, width in zip(flush, row, widths, strict=True)).rstrip()
        for row in every
    ]
