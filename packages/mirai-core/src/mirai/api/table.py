"""A table as text and as HTML: for terminals and notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of no page but a table's own: notebooks have their own idea of how one looks.
STYLE = "border-collapse: collapse; font-variant-numeric: tabular-nums"


def text(head: Sequence[str], rows: Sequence[Sequence[object]], left: str = "") -> list[str]:
    """A line for the head and for each row. Columns named in `left`, separated by blanks, are flush on that side."""
    cells = [list(head), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    flush = [name in left.split() for name in head]
    return [
        "  ".join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, flush, strict=True)
        ).rstrip()
        for line in cells
    ]


def as_html(head: Sequence[str], rows: Sequence[Sequence[object]], left: str = "") -> str:
    """The same as an element of a page."""
    sides = ["left" if name in left.split() else "right" for name in head]

    def row(tag: str, cells: Sequence[object]) -> str:
        inner = "".join(
            f'<{tag} style="text-align: {side}">{html.escape(str(cell))}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f'<table style="{STYLE}"><thead>{row("th", head)}</thead><tbody>{body}</tbody></table>'


def line(words: str) -> str:
    """A line of text beside tables, as an element of a page."""
    return f"<div>{html.escape(words)}</div>"
