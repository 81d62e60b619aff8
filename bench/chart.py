"""Bar chart of the results as SVG, for light and dark colour schemes."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

_ROW, _LEFT, _WIDTH = 34, 270, 760

#: Style sheet of all charts.
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .soft { fill: #59636e; font-size: 12px }
  .bar { fill: #8c959f } .ours { fill: #c2410c } .idle { fill: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .soft { fill: #9198a1 }
    .bar { fill: #656c76 } .ours { fill: #fb923c } .idle { fill: #3d444d }
  }
"""


def draw(rates: Mapping[str, float], *, ours: str, note: str) -> str:
    """Return an SVG bar chart, the fastest first.

    :param rates: hits a second by name; a name in brackets counts no hits.
    :param ours: the name to highlight.
    :param note: caption below the bars.
    """
    rows = sorted(rates.items(), key=lambda item: -item[1])
    scale = (_WIDTH - _LEFT - 90) / rows[0][1]
    height = _ROW * len(rows) + 40
    title = "Hits a second: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    for index, (name, rate) in enumerate(rows):
        top = _ROW * index
        kind = "ours" if name == ours else "idle" if name.startswith("(") else "bar"
        width = max(2.0, rate * scale)
        lines += [
            f'<text x="{_LEFT - 10}" y="{top + 21}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top + 5}" width="{width:.1f}" height="24" '
            'rx="3"/>',
            f'<text x="{_LEFT + width + 8:.1f}" y="{top + 21}">{rate:,.0f}</text>',
        ]
    lines += [f'<text class="soft" x="{_LEFT}" y="{height - 12}">{escape(note)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"
