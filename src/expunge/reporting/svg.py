"""Style shared by all figures: colours for colour-blind readers, shapes for printing in grey, and conversion to inline SVG."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import count

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expunge.console import visible
from expunge.reporting.metric_rows import Interval

# A colour that nothing else uses. In the SVG it is replaced by the page's text colour.
INK = "#010203"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "expunge",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}
_NAME_LENGTH = 28


@dataclass(frozen=True)
class Look:
    """Colour and shape of a model in all figures.

    Attributes:
        colour: a colour of Okabe and Ito's palette.
        marker: matplotlib's letter of the shape.
    """

    colour: str
    marker: str

    @property
    def path(self) -> str:
        """Return the shape around the origin as an SVG path."""
        return _PATHS[self.marker]


_PATHS = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "s": "M-3.5-3.5h7v7h-7z",
    "D": "M0-5l5 5l-5 5l-5-5z",
    "^": "M0-4.5l4.5 8h-9z",
    "v": "M0 4.5l4.5-8h-9z",
}
LOOKS = {"original": Look("#0072B2", "o"), "unlearned": Look("#D55E00", "s"), "control": Look("#009E73", "D")}
# Three shapes and four colours have no common factor, so twelve runs get different looks.
_OTHER_COLOURS, _OTHER_MARKERS = ("#D55E00", "#CC79A7", "#56B4E9", "#E69F00"), "s^v"


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each model: fixed ones for the models of a report, the next free ones for the runs of a comparison."""
    others = (Look(_OTHER_COLOURS[i % len(_OTHER_COLOURS)], _OTHER_MARKERS[i % len(_OTHER_MARKERS)]) for i in count())
    return {name: LOOKS[name] if name in LOOKS else next(others) for name in names}


@contextmanager
def styled() -> Iterator[None]:
    """Draw figures in the style of the page while the context is active."""
    with mpl.rc_context(_STYLE):
        yield


def light_grid(axes: Axes) -> None:
    """Draw a faint grid behind the values."""
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)


def axis_name(name: str) -> str:
    """Return a set's name, shortened for a narrow axis."""
    shown = visible(name).replace("_", " ")
    return shown if len(shown) <= _NAME_LENGTH else shown[: _NAME_LENGTH - 1] + "\u2026"


def whiskers(cell: Interval) -> list[list[float]]:
    """Return the 95 % interval as [[below], [above]], the form that errorbar takes."""
    low, high = cell["ci95"] or (cell["value"], cell["value"])
    return [[max(0.0, cell["value"] - low)], [max(0.0, high - cell["value"])]]


def svg(figure: Figure, title: str) -> str:
    """Return a figure as inline SVG, without header, metadata and group ids: ids would repeat in two figures on one page."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = buffer.getvalue()
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn[drawn.index("<svg") :])
    return drawn.replace(INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
