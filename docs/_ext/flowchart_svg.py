"""Draw a flowchart in Mermaid's language as SVG: `flowchart TD` and lines such as `a[Records] --> b[Splits<br>of a run]`."""

import re
from html import escape
from itertools import pairwise

NODE = re.compile(r"\s*(\w+)(?:\[([^\]]*)\])?\s*")
WIDTH, LINE, GAP_X, GAP_Y, PADDING = 8.0, 18, 24, 44, 10
"""Pixels: of a character, a line of text, between boxes and between rows, inside a box."""


def svg(lines: list[str]) -> str:
    """Return the SVG of a flowchart, from top to bottom.

    Raises:
        ValueError: a line is not `node --> node`.
    """
    labels, arrows = parse(lines)
    ranks = ranked(labels, arrows)
    sizes = {name: (max(map(len, text)) * WIDTH + 2 * PADDING, len(text) * LINE + 2 * PADDING) for name, text in labels.items()}
    rows = [[name for name in labels if ranks[name] == rank] for rank in range(max(ranks.values()) + 1)]
    widths = [sum(sizes[name][0] for name in row) + GAP_X * (len(row) - 1) for row in rows]
    places, top = {}, 1.0
    for row, width in zip(rows, widths, strict=True):
        left = (max(widths) - width) / 2 + 1
        for name in row:
            places[name] = (left, top)
            left += sizes[name][0] + GAP_X
        top += max(sizes[name][1] for name in row) + GAP_Y
    body = [arrow(places[a], sizes[a], places[b], sizes[b]) for a, b in arrows]
    body += [box(places[name], sizes[name], text) for name, text in labels.items()]
    head = '<marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker>'
    size = f"{max(widths) + 2:.0f} {top - GAP_Y + 2:.0f}"
    return f'<svg class="flowchart" viewBox="0 0 {size}" width="{size.split()[0]}" role="img"><defs>{head}</defs>{"".join(body)}</svg>'


def parse(lines: list[str]) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Return the lines of each node's label, in order of appearance, and the arrows."""
    labels: dict[str, list[str]] = {}
    arrows = []
    for line in lines:
        if not line.strip() or line.startswith("flowchart"):
            continue
        ends = [NODE.fullmatch(part) for part in line.split("-->")]
        if None in ends:
            raise ValueError(f"not understood as a flowchart: {line!r}")
        names = []
        for end in ends:
            assert end is not None
            names.append(end[1])
            if end[2] is not None or end[1] not in labels:
                labels[end[1]] = (end[2] or end[1]).split("<br>")
        arrows += list(pairwise(names))
    return labels, arrows


def ranked(labels: dict[str, list[str]], arrows: list[tuple[str, str]]) -> dict[str, int]:
    """Return the row of each node: below all that point to it, and right above the highest that it points to."""
    ranks = dict.fromkeys(labels, 0)
    for _ in labels:
        for start, end in arrows:
            ranks[end] = max(ranks[end], ranks[start] + 1)
    for name in reversed(labels):
        below = [ranks[end] for start, end in arrows if start == name]
        ranks[name] = min(below) - 1 if below else ranks[name]
    return ranks


def box(place: tuple[float, float], size: tuple[float, float], text: list[str]) -> str:
    """Return a rectangle with its lines of text."""
    (x, y), (width, height) = place, size
    lines = "".join(
        f'<text x="{x + width / 2:.0f}" y="{y + PADDING + LINE * (n + 0.75):.0f}">{escape(t)}</text>' for n, t in enumerate(text)
    )
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="4"/>{lines}'


def arrow(place: tuple[float, float], size: tuple[float, float], to: tuple[float, float], to_size: tuple[float, float]) -> str:
    """Return a line from the bottom of a box to the top of another."""
    x, y, end_x, end_y = place[0] + size[0] / 2, place[1] + size[1], to[0] + to_size[0] / 2, to[1]
    half = (y + end_y) / 2
    return f'<path d="M{x:.0f},{y:.0f} C{x:.0f},{half:.0f} {end_x:.0f},{half:.0f} {end_x:.0f},{end_y:.0f}" marker-end="url(#tip)"/>'
