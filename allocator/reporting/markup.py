"""Pieces of HTML that the report is put together from. Every text from outside passes `text` or `name`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LONGEST = 70  # of a name, in characters
PAGE_ROWS = 25  # of a table, before a button shows the rest


def text(words: str) -> str:
    """Return words with HTML's own signs escaped; a percentage is not torn from its sign at a line's end."""
    return escape(words).replace(" %", "\u00a0%")


def short(words: str) -> str:
    """Return a name, cut where it is too long to be read at a glance."""
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def name(words: str) -> str:
    """Return a name from outside: escaped, short, and apart from the text around it where it runs right to left."""
    whole = f' title="{escape(words)}"' if len(words) > LONGEST else ""
    return f"<bdi{whole}>{escape(short(words))}</bdi>"


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `html` is safe already, `key` is what the column is sorted by."""

    html: str
    key: float | str | None = None
    kind: str = ""  # "", "text" or "chart"


@dataclass(frozen=True)
class Column:
    """A column of a table; one without a title holds bars that repeat a number beside them."""

    title: str
    kind: str = ""  # as of a cell


Row = Sequence[Cell]


def number(value: float, digits: int = 2) -> Cell:
    """Return a cell with a number."""
    return Cell(f"{value:,.{digits}f}", value)


def count(value: int) -> Cell:
    """Return a cell with a whole number."""
    return Cell(f"{value:,}", value)


def label(words: str) -> Cell:
    """Return a cell with a name from outside."""
    return Cell(name(words), words, "text")


def plain(words: str, key: float | str | None = None) -> Cell:
    """Return a cell with words of ours."""
    return Cell(escape(words), words if key is None else key, "text")


def noted(cell: Cell, note: str) -> Cell:
    """Return a cell with words of ours, small, below what it holds."""
    return Cell(f"{cell.html}<small>{escape(note)}</small>", cell.key, cell.kind) if note else cell


def bar(value: float, top: float, *, main: bool, mark: float | None = None) -> Cell:
    """Return a cell with a bar of `value` on a scale from 0 to `top`; `mark` draws a line across it."""
    width = max(0.0, min(100.0, 100.0 * value / top)) if top > 0 else 0.0
    kind = ' class="main"' if main else ""
    line = ""
    if mark is not None and top > 0:
        at = max(0.0, min(100.0, 100.0 * mark / top))
        line = f'<line class="mark" x1="{at:.2f}" x2="{at:.2f}" y1="-1" y2="9"/>'
    return Cell(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect{kind} width="{width:.2f}" height="8"/>{line}</svg>',
        None,
        "chart",
    )


def table(title: str, columns: Sequence[Column], rows: Sequence[Row], foot: Sequence[Row] = ()) -> str:
    """Return a table that scrolls sideways in itself, can be sorted, and shows its first rows until asked for more."""
    head = "".join(_head(column) for column in columns)
    more = f' data-rows="{PAGE_ROWS}"' if len(rows) > PAGE_ROWS + 5 else ""
    end = f"<tfoot>{''.join(_row(row) for row in foot)}</tfoot>" if foot else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table aria-label="{escape(title)}"{more}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(_row(row) for row in rows)}</tbody>{end}</table></div>\n"
    )


def section(anchor: str, title: str, lead: str, *parts: str) -> str:
    """Return a part of the page under its own heading; `lead` and `parts` are safe already."""
    intro = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{intro}{"".join(parts)}</section>\n'


def _head(column: Column) -> str:
    kind = f' class="{column.kind}"' if column.kind else ""
    return f'<th scope="col"{kind}>{escape(column.title)}</th>' if column.title else '<td class="chart"></td>'


def _key(cell: Cell) -> str:
    """Return what a cell is sorted by; whole numbers look the same however they were kept."""
    key = float(cell.key) if isinstance(cell.key, int) else cell.key
    return "" if key is None or key != key else f' data-v="{escape(str(key))}"'


def _row(row: Row) -> str:
    first, *rest = row
    return f'<tr><th scope="row"{_key(first)}>{first.html}</th>{"".join(_cell(cell) for cell in rest)}</tr>'


def _cell(cell: Cell) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    return f"<td{kind}{_key(cell)}>{cell.html}</td>"
