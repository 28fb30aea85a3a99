"""Line charts as SVG, drawn twice: for a wide page and for a phone, so that their text is readable on both.

A chart is a picture with a sentence as its text alternative; below it stand a slider that walks along its points (mouse,
touch and keyboard move it, and a screen reader reads the point), and the same numbers as a table. Drawn by hand: a charting
library such as Vega-Lite weighs 0.9 MB inline, twelve times the whole page, and a keyboard does not walk along its charts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDE, NARROW = (720, 300), (360, 260)
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 44  # margins, in the units of the picture
LEAST_RANGE = 0.01  # of the numbers on an axis that does not begin with 0
LETTER = 7  # width of a letter, about
BELOW = 128  # height of a second panel


@dataclass(frozen=True)
class Line:
    """A line through points; `kind` is its class in the style sheet, `name` stands at its end."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `ticks`: about so many on the y axis."""

    lines: Sequence[Line]
    y_title: str
    from_zero: bool
    ticks: int = 4


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes
    ----------
    anchor
        Its id in the page.
    panels
        One or two, one below the other, over the same x; the slider walks along the first line of each.
    says
        What the chart shows, in a sentence: its text alternative.
    here, here_name
        The x of a line down all panels that marks the plan, and what stands beside it; None draws none.
    steps
        What the slider says at each point.
    at
        The point where it begins.
    """

    anchor: str
    panels: Sequence[Panel]
    x_title: str
    says: str
    here: float | None
    here_name: str
    slider: str
    steps: Sequence[str]
    at: int

    def html(self, table: str) -> str:
        """Return the chart, its slider and `table`, the same numbers as HTML."""
        drawn = [_Drawing(self, size, narrow) for size, narrow in ((WIDE, False), (NARROW, True))]
        data = escape(json.dumps([drawing.points() for drawing in drawn], separators=(",", ":")))
        steps = escape(json.dumps(list(self.steps), ensure_ascii=False))
        most = len(self.steps) - 1
        return (
            f'<figure class="plot" id="{self.anchor}-chart" data-points="{data}" data-steps="{steps}">'
            f"{''.join(drawing.svg() for drawing in drawn)}"
            f'<div class="probe" hidden><label for="{self.anchor}-at">{escape(self.slider)}</label>'
            f'<input type="range" id="{self.anchor}-at" min="0" max="{most}" value="{self.at}">'
            f"<output>{escape(self.steps[self.at])}</output></div>"
            f"<details><summary>The numbers of this chart</summary>{table}</details></figure>\n"
        )


class _Drawing:
    """A chart at one size."""

    def __init__(self, chart: Chart, size: tuple[int, int], narrow: bool) -> None:
        self.chart, (self.width, self.height), self.narrow = chart, size, narrow
        every = [x for panel in chart.panels for line in panel.lines for x in line.x]
        self.x_low, self.x_high = min(every), max(every)
        self.total = self.height + BELOW * (len(chart.panels) - 1)
        self.boxes = [(TOP, self.height - BOTTOM)]
        for _ in chart.panels[1:]:
            top = self.boxes[-1][1] + 42
            self.boxes.append((top, top + BELOW - 42))
        self.scales = [_scale(panel) for panel in chart.panels]

    def points(self) -> list[list[float]]:
        """Return `[x, y of each panel]` of each point, in the units of the picture."""
        first = self.chart.panels[0].lines[0]
        return [
            [
                round(self.x(at), 1),
                *(round(self.y(p, panel.lines[0].y[k]), 1) for p, panel in enumerate(self.chart.panels)),
            ]
            for k, at in enumerate(first.x)
        ]

    def x(self, value: float) -> float:
        """Return where a number lies from left to right."""
        span = self.x_high - self.x_low or 1.0
        return LEFT + (value - self.x_low) / span * (self.width - LEFT - RIGHT)

    def y(self, panel: int, value: float) -> float:
        """Return where a number lies from top to bottom."""
        (low, high, _), (top, bottom) = self.scales[panel], self.boxes[panel]
        return bottom - (value - low) / ((high - low) or 1.0) * (bottom - top)

    def svg(self) -> str:
        """Return the picture."""
        chart = self.chart
        kind = "narrow" if self.narrow else "broad"
        parts = [self._panel(number, panel) for number, panel in enumerate(chart.panels)]
        bottom = self.boxes[-1][1]
        parts += [self._x_axis(bottom), self._here(bottom), self._cursor()]
        return (
            f'<svg class="chart {kind}" viewBox="0 0 {self.width} {self.total}" role="img" '
            f'aria-label="{escape(chart.says)}">{"".join(parts)}</svg>'
        )

    def _panel(self, number: int, panel: Panel) -> str:
        ticks = self.scales[number][2]
        top = self.boxes[number][0]
        parts = [f'<text class="title" x="4" y="{top - 16:g}">{escape(panel.y_title)}</text>']
        for tick in ticks:
            y = self.y(number, tick)
            base = " base" if tick == 0 else ""
            parts.append(f'<line class="grid{base}" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick y" x="{LEFT - 6}" y="{y + 4:.1f}">{short(tick)}</text>')
        # The main line is drawn last, above the others.
        parts += [self._line(number, line) for line in reversed(panel.lines)]
        return "".join(parts)

    def _line(self, number: int, line: Line) -> str:
        at = [(self.x(x), self.y(number, y)) for x, y in zip(line.x, line.y, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        here = None if self.chart.here is None else self.x(self.chart.here)
        dots = "".join(
            f'<circle class="dot{" own" if x == here else ""}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if x == here else 3.5}"/>'
            for x, y in (at if line.dots else ())
        )
        return f'<path class="line {line.kind}" d="{path}"/>{dots}'

    def _x_axis(self, bottom: float) -> str:
        ticks = [
            tick
            for tick in round_ticks(self.x_low, self.x_high, 4 if self.narrow else 7)
            if self.x_low <= tick <= self.x_high
        ]
        parts = [
            f'<text class="tick" text-anchor="middle" x="{self.x(tick):.1f}" y="{bottom + 17:g}">{short(tick)}</text>'
            for tick in ticks
        ]
        middle = (LEFT + self.width - RIGHT) / 2
        parts.append(
            f'<text class="title" text-anchor="middle" x="{middle:g}" y="{bottom + 35:g}">{escape(self.chart.x_title)}</text>'
        )
        return "".join(parts)

    def _here(self, bottom: float) -> str:
        if self.chart.here is None:
            return ""
        x = self.x(self.chart.here)
        wide = LETTER * len(self.chart.here_name)  # about
        left = x + wide > self.width - RIGHT and x - wide > LEFT
        anchor, shift = ("end", -6) if left else ("start", 6)
        return (
            f'<line class="here" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:g}"/>'
            f'<text class="here" text-anchor="{anchor}" x="{x + shift:.1f}" y="{self.boxes[0][1] - 8:g}">{escape(self.chart.here_name)}</text>'
        )

    def _cursor(self) -> str:
        circles = "".join('<circle r="6" cx="0" cy="0"/>' for _ in self.chart.panels)
        return f'<g class="cursor" visibility="hidden"><line x1="0" x2="0" y1="{TOP}" y2="{self.boxes[-1][1]:g}"/>{circles}</g>'


def _scale(panel: Panel) -> tuple[float, float, list[float]]:
    """Return the lowest and highest number of a panel's axis, and its ticks."""
    every = [y for line in panel.lines for y in line.y if math.isfinite(y)]
    low, high = min(every, default=0.0), max(every, default=1.0)
    # Of a line that is nearly flat, ticks would all read the same.
    if panel.from_zero or high - low < LEAST_RANGE * max(abs(low), abs(high)) or low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    ticks = round_ticks(low, high, panel.ticks)
    return min(low, ticks[0]), max(high, ticks[-1]), ticks


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number for an axis: `1.5M`, `50k`, `2,475`, `0.25`."""
    for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{unit}"
    if abs(value) >= 1e3:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"
