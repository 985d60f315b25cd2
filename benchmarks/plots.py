"""The report's plots, as SVG."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path
from typing import Any

from benchmarks.report import OURS, Line, Section, Unit, columns

COLOURS = ("#0b6e4f", "#c1440e", "#3d5a80", "#9a6fb0", "#d4a017", "#7a7a7a", "#222222")
FACTORS = {Unit.SECONDS: (1e6, "µs"), Unit.BYTES: (1 / (1 << 20), "MiB"), Unit.RATE: (1.0, "per second")}


def draw(section: Section, folder: Path) -> list[Path]:
    """Draws a section: curves if its lines have numbers, else bars of how far ahead we are. Returns the files."""
    pyplot = _pyplot()
    drawn = []
    if section.axis:
        for name in dict.fromkeys(line.name for line in section.lines):
            lines = [line for line in section.lines if line.name == name]
            drawn.append(
                _save(pyplot, _curves(pyplot, lines, section.axis), folder / f"{_slug(section.name, name)}.svg")
            )
    elif any(line.ratio(who) for line in section.lines for who in line.figures):
        drawn.append(_save(pyplot, _bars(pyplot, section.lines), folder / f"{_slug(section.name)}.svg"))
    return drawn


def _pyplot() -> Any:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # The same figures make the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "aiostoolap", "svg.fonttype": "none", "font.size": 9})
    return importlib.import_module("matplotlib.pyplot")


def _curves(pyplot: Any, lines: list[Line], axis: str) -> Any:
    """The figures of each over the lines' numbers."""
    figure, axes = pyplot.subplots(figsize=(7, 3.2))
    factor, unit = FACTORS[lines[0].unit]
    for who, colour in zip(columns(lines), itertools.cycle(COLOURS), strict=False):
        points = [(line.at, line.spread(who)) for line in lines if who in line.figures]
        if not points:
            continue
        at = [number for number, _ in points]
        axes.plot(
            at,
            [found.median * factor for _, found in points],
            marker="o",
            color=colour,
            label=who,
            linewidth=2.2 if who == OURS else 1.2,
        )
        low, high = ([getattr(found, edge) * factor for _, found in points] for edge in ("low", "high"))
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel=unit, title=lines[0].name)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _bars(pyplot: Any, lines: list[Line]) -> Any:
    """How many times as good as each of the others we are, with the quartiles."""
    others = [who for who in columns(lines) if any(line.ratio(who) for line in lines)]
    height = 0.8 / len(others)
    figure, axes = pyplot.subplots(figsize=(7, 0.8 + len(lines) * max(0.45, 0.17 * len(others))))
    for place, who in enumerate(others):
        rows = [(number, ratio) for number, line in enumerate(lines) if (ratio := line.ratio(who))]
        axes.barh(
            [number + (place - (len(others) - 1) / 2) * height for number, _ in rows],
            [ratio.median - 1 for _, ratio in rows],
            height,
            left=1,  # What is behind goes to the left.
            xerr=[
                [ratio.median - ratio.low for _, ratio in rows],
                [ratio.high - ratio.median for _, ratio in rows],
            ],
            error_kw={"linewidth": 0.8, "ecolor": "#444444"},
            color=COLOURS[(1 + place) % len(COLOURS)],
            label=who,
        )
    axes.axvline(1, color=COLOURS[0], linewidth=1.5)
    several = len({line.loop for line in lines}) > 1
    axes.set_yticks(range(len(lines)), [f"{line.name}, {line.loop}" if several else line.name for line in lines])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="aiostoolap is so many times as good")
    axes.grid(visible=True, axis="x", which="major", alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _save(pyplot: Any, figure: Any, file: Path) -> Path:
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return file


def _slug(*names: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower())
