"""What was measured: a `Report` of sections of lines, and how it is kept as JSON."""

from __future__ import annotations

import math
import statistics
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

OURS = "aiostoolap"


class Unit(StrEnum):
    """What a figure counts."""

    SECONDS = "seconds"
    BYTES = "bytes"
    RATE = "per second"


class Spread(msgspec.Struct, frozen=True):
    """A median between its quartiles."""

    low: float
    median: float
    high: float


class Line(msgspec.Struct):
    """One measurement of all who took part.

    Attributes:
        name: what was measured.
        unit: what the figures count.
        loop: the event loop.
        figures: for each who took part, one figure for each round.
        notes: for each who did not, why.
        at: the number that the line is about, if there is a row of such lines to plot.
    """

    name: str
    unit: Unit
    loop: str
    figures: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    at: float | None = None

    def label(self, axis: str) -> str:
        """Its name, with its number."""
        return self.name if self.at is None else f"{self.name}, {self.at:,.0f} {axis}"

    def spread(self, who: str) -> Spread:
        """Their figures."""
        return spread(self.figures[who])

    def ratio(self, who: str) -> Spread | None:
        """How many times as good as theirs our figures are, round by round."""
        if OURS not in self.figures or who not in self.figures or who == OURS:
            return None
        pairs = list(zip(self.figures[OURS], self.figures[who], strict=True))
        if not all(ours > 0 and theirs > 0 for ours, theirs in pairs):
            return None
        return spread([ours / theirs if self.unit is Unit.RATE else theirs / ours for ours, theirs in pairs])


class Section(msgspec.Struct):
    """The lines of a work.

    Attributes:
        name: the work's name on the command line.
        title: what it is called on the page.
        text: what it does, in Markdown.
        lines: what was measured.
        remarks: what is to be said of the outcome, made by the run.
        axis: what the numbers in `Line.at` count.
    """

    name: str
    title: str
    text: str
    lines: list[Line] = []
    remarks: list[str] = []
    axis: str = ""


class Report(msgspec.Struct):
    """A run.

    Attributes:
        machine: what it ran on, by name.
        command: what started it.
        peers: the versions of the drivers; None for those that are not installed.
        settings: how each driver was used.
        sections: what was measured.
    """

    machine: dict[str, str]
    command: str
    peers: dict[str, str | None]
    settings: dict[str, str]
    sections: list[Section] = []

    def save(self, file: Path) -> None:
        """Writes it as JSON."""
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @staticmethod
    def read(file: Path) -> Report:
        """Reads what `save` wrote."""
        return msgspec.json.decode(file.read_bytes(), type=Report)


def spread(figures: list[float]) -> Spread:
    """The median and the quartiles."""
    if len(figures) == 1:
        return Spread(*figures * 3)
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(low, median, high)


def show(value: float, unit: Unit) -> str:
    """A figure for people, with three digits that count."""
    if unit is Unit.BYTES:
        return f"{_digits(value / (1 << 20))} MiB"
    if unit is Unit.RATE:
        return f"{value:,.0f}/s"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {name}"
    return f"{_digits(value / 1e-9)} ns"


def show_ratio(ratio: Spread) -> str:
    """A ratio and its quartiles."""
    return f"{_digits(ratio.median)}x ({_digits(ratio.low)} to {_digits(ratio.high)})"


def _digits(value: float) -> str:
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def columns(lines: list[Line]) -> list[str]:
    """All who took part in some of the lines, or should have."""
    found: dict[str, Any] = {}
    for line in lines:
        found |= line.figures | line.notes
    return [OURS, *(who for who in found if who != OURS)]


def notes(lines: list[Line]) -> list[str]:
    """Why some are missing, each reason once with the lines that it is about."""
    found: dict[str, list[str]] = {}
    for line in lines:
        for who, why in line.notes.items():
            found.setdefault(f"{who}: {why}", []).append(line.name)
    return [
        note if len(names) == len(lines) else f"{note} ({', '.join(dict.fromkeys(names))})"
        for note, names in found.items()
    ]
