# SPDX-License-Identifier: Apache-2.0
"""A chart of the results as SVG: the time of each workload, as a multiple of the native time."""

import math
from xml.sax.saxutils import escape

LEFT, WIDTH, ROW, TOP, BOTTOM = 150, 620, 18, 76, 40
COLORS = ["#d1495b", "#30638e", "#edae49", "#66a182"]
NATIVE = "native"


class Axis:
    """Ratios on a logarithmic scale."""

    def __init__(self, ratios):
        self.low = math.floor(math.log10(min(ratios + [1])))
        self.high = max(math.ceil(math.log10(max(ratios + [1]))), self.low + 1)

    def x(self, ratio):
        return LEFT + WIDTH * (math.log10(ratio) - self.low) / (self.high - self.low)

    def ticks(self):
        """(ratio, whether it gets a number)"""
        for decade in range(self.low, self.high + 1):
            for n in range(1, 10 if decade < self.high else 2):
                yield n * 10.0 ** decade, n in (1, 2, 5)


def text(x, y, words, anchor="start", weight="normal", color="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{color}">{escape(words)}</text>')


def line(x1, y1, x2, y2, color, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"/>')


def grid(axis, bottom):
    for ratio, numbered in axis.ticks():
        x = axis.x(ratio)
        strong = ratio == 1
        yield line(x, TOP - 6, x, bottom, "#777" if strong else "#e2e2e2", 1.5 if strong else 1)
        if numbered:
            yield text(x, bottom + 14, f"{ratio:g}", "middle")
            yield text(x, TOP - 10, f"{ratio:g}", "middle")


def legend(machines):
    x = LEFT
    for machine, color in machines:
        yield f'<circle cx="{x + 5}" cy="44" r="5" fill="{color}"/>'
        yield text(x + 15, 48, machine)
        x += 40 + 8 * len(machine)


def row(y, workload, machines, axis):
    yield text(LEFT - 10, y + 4, workload["name"], "end")
    base = workload["seconds"][NATIVE]["median"]
    for machine, color in machines:
        times = workload["seconds"].get(machine)
        if not times:
            continue
        low, middle, high = (axis.x(times[k] / base) for k in ("min", "median", "max"))
        yield line(low, y, high, y, color, 3)
        yield f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{color}"/>'


def draw(data):
    workloads = [w for w in data["workloads"] if NATIVE in w["seconds"]]
    machines = list(zip((m for m in data["machines"] if m != NATIVE), COLORS))
    ratios = [w["seconds"][m][k] / w["seconds"][NATIVE]["median"] for w in workloads
              for m, _ in machines if m in w["seconds"] for k in ("min", "max")]
    axis, body, y = Axis(ratios), [], TOP + 8
    for group in dict.fromkeys(w["group"] for w in workloads):
        body.append(text(12, y + 4, group, weight="bold"))
        y += ROW
        for workload in (w for w in workloads if w["group"] == group):
            body += row(y, workload, machines, axis)
            y += ROW
        y += 6
    height, width = y + BOTTOM, LEFT + WIDTH + 30
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(LEFT, 24, f"Time, as a multiple of native: {data['processor']}, "
             f"median and range of {data['runs']}", weight="bold"),
        *legend(machines), *grid(axis, y), *body, "</svg>", ""])
