"""The report in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.report import OURS, Line, Section, columns, notes, show, show_ratio


def print_section(console: Console, section: Section) -> None:
    """Prints a section."""
    who = columns(section.lines)
    grid = Table("", "loop", *who, title=f"{section.name}: {section.title}")
    for line in section.lines:
        grid.add_row(line.label(section.axis), line.loop, *(cell(line, name) for name in who))
    console.print(grid)
    for remark in [*notes(section.lines), *section.remarks]:
        console.print(f"  {remark}", markup=False)
    console.print()


def cell(line: Line, who: str) -> str:
    """A figure, and by how much we are ahead of it."""
    if who not in line.figures:
        return "-"
    figure = show(line.spread(who).median, line.unit)
    ratio = line.ratio(who)
    if ratio is None:
        return f"[bold]{figure}[/]" if who == OURS else figure
    colour = "green" if ratio.low > 1 else "red" if ratio.high < 1 else "yellow"
    return f"{figure}\n[{colour}]{show_ratio(ratio)}[/]"
