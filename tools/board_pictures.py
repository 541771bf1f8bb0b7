"""Draw the boards of deploy/observability as SVG in docs/boards, from what a Prometheus has recorded.

By hand: `.venv/bin/python tools/board_pictures.py http://127.0.0.1:9090 [minutes]` after a run whose
replicas it scraped. Not Grafana's own drawing: the same queries and titles, in plain lines.
"""

from __future__ import annotations

import json
import math
import sys
import time
from html import escape
from pathlib import Path
from typing import Any, Final

import httpx2

ROOT: Final = Path(__file__).resolve().parent.parent
BOARDS: Final = ROOT / "deploy" / "observability" / "grafana" / "boards"
OUT: Final = ROOT / "docs" / "boards"
STEPS: Final = 120
LINES_MAX: Final = 8  # of one panel, the highest; a board names them all
WIDTH, HEIGHT, LEGEND, ACROSS = 560, 150, 15, 2
COLOURS: Final = (
    "#3274d9", "#e0752d", "#2f9e44", "#c2255c", "#7048e8", "#0c8599", "#f08c00", "#495057",
)  # fmt: skip

Point = tuple[float, float]


def ranged(prometheus: str, query: str, begin: float, end: float) -> list[tuple[str, list[Point]]]:
    """The series of a query over a span: their labels and points; those without a value are left out."""
    step = max(1, int((end - begin) / STEPS))
    asked = {"query": query, "start": begin, "end": end, "step": step}
    answer = httpx2.get(f"{prometheus}/api/v1/query_range", params=asked, timeout=30)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
    series: list[tuple[str, list[Point]]] = []
    for one in found:
        points = [(float(at), float(value)) for at, value in one["values"]]
        points = [(at, value) for at, value in points if math.isfinite(value)]
        labels = " ".join(
            str(value) for name, value in sorted(one["metric"].items()) if name[0] != "_"
        )
        if points:
            series.append((labels, points))
    return series


def drawn(panel: dict[str, Any], series: list[tuple[str, list[Point]]], x: int, y: int) -> str:
    """One panel as SVG."""
    highest = sorted(series, key=lambda one: -max(value for _, value in one[1]))[:LINES_MAX]
    top = max((value for _, points in highest for _, value in points), default=0) or 1
    times = [at for _, points in highest for at, _ in points]
    begin, end = min(times, default=0), max(times, default=1)
    parts = [
        f'<g transform="translate({x},{y})">',
        f'<text x="0" y="14" class="t">{escape(panel["title"])}</text>',
        f'<rect x="0" y="22" width="{WIDTH}" height="{HEIGHT}" class="f"/>',
        f'<text x="{WIDTH - 4}" y="34" class="n" text-anchor="end">{top:.4g}</text>',
    ]
    for number, (labels, points) in enumerate(highest):
        line = " ".join(
            f"{WIDTH * (at - begin) / max(1, end - begin):.0f},"
            f"{22 + HEIGHT - (HEIGHT - 16) * value / top:.0f}"
            for at, value in points
        )
        colour, below = COLOURS[number], 22 + HEIGHT + LEGEND * (number + 1)
        parts.append(f'<polyline points="{line}" stroke="{colour}" class="l"/>')
        legend = escape(labels[:90] or panel["title"])
        parts.append(f'<text x="0" y="{below}" class="n" fill="{colour}">{legend}</text>')
    if not highest:
        parts.append(
            f'<text x="8" y="{22 + HEIGHT // 2}" class="n">nothing happened in this run</text>'
        )
    return "\n".join([*parts, "</g>"])


def _legend(panel: dict[str, Any], target: dict[str, Any], labels: str) -> str:
    """The labels, after the quantile where a panel has several."""
    first: str = target["legendFormat"].split()[0]
    return f"{first} {labels}" if len(panel["targets"]) > 1 else labels


def picture(board: dict[str, Any], prometheus: str, begin: float, end: float) -> str:
    """A whole board."""
    tall = 22 + HEIGHT + LEGEND * LINES_MAX + 24
    body: list[str] = []
    for number, panel in enumerate(board["panels"]):
        series = [
            (_legend(panel, target, labels), points)
            for target in panel["targets"]
            for labels, points in ranged(prometheus, target["expr"], begin, end)
        ]
        row, column = divmod(number, ACROSS)
        body.append(drawn(panel, series, 20 + column * (WIDTH + 30), 50 + row * tall))
    rows = -(-len(board["panels"]) // ACROSS)
    width, height = 20 + ACROSS * (WIDTH + 30), 60 + rows * tall
    style = (
        "text{font:11px sans-serif}.h{font:bold 18px sans-serif}.t{font:bold 12px sans-serif}"
        ".f{fill:#f8f9fa;stroke:#ced4da}.l{fill:none;stroke-width:1.5}"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    )
    title = f'<text x="20" y="30" class="h">{escape(board["title"])}</text>'
    white = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([head, f"<style>{style}</style>", white, title, *body, "</svg>", ""])


def main() -> int:
    """Draw every board."""
    prometheus = sys.argv[1].rstrip("/")
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 10
    end = time.time()
    OUT.mkdir(exist_ok=True)
    for path in sorted(BOARDS.glob("*.json")):
        board = json.loads(path.read_text("utf-8"))
        made = picture(board, prometheus, end - 60 * minutes, end)
        (OUT / f"{path.stem}.svg").write_text(made, "utf-8")
        print(OUT / f"{path.stem}.svg")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
