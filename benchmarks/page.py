"""The page docs/benchmarks.md, from the report alone: `python -m benchmarks.page` makes it again."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from benchmarks import plots
from benchmarks.report import OURS, Line, Report, Section, columns, notes, show, show_ratio

DOCS = Path(__file__).parent.parent / "docs"
INTRODUCTION = """\
# Benchmarks

Written by `{command} --write`; the data are in [results.json](benchmarks/results.json), and
`./dev python -m benchmarks.page` makes this page from them again.

All take their turn in each round, in an order that rotates, on the same work in the same run, after a first round that
does not count. Each figure is the median of the rounds. Below it stands how many times as good as that peer aiostoolap
is (as fast, as small, as many per second), as the median of the rounds' ratios with their quartiles: above 1 aiostoolap
is ahead. Before anything is measured, the answers of all are compared, and who answers otherwise is out.

Who is not installed is left out. `./dev benchmark` installs all but stoolap-python, which has to be compiled by Rust:
`.venv/bin/python -m pip install stoolap-python`.
"""


def write(report: Report, docs: Path = DOCS) -> None:
    """Writes the page, its data and its plots."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    report.save(folder / "results.json")
    parts = [INTRODUCTION.format(command=report.command), "\n".join(machine(report))]
    for section in report.sections:
        pictures = [f"![{section.title}](benchmarks/{file.name})" for file in plots.draw(section, folder)]
        parts += ["\n".join(body(section)), *pictures]
    (docs / "benchmarks.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def machine(report: Report) -> Iterator[str]:
    """What it ran on, and who took part."""
    yield "| | |\n|---|---|"
    for name, value in report.machine.items():
        yield f"| {name} | {value} |"
    yield "\n| Driver | Version | Used by |\n|---|---|---|"
    for who, version in report.peers.items():
        yield f"| {who} | {version or 'not installed'} | {report.settings[who]} |"


def body(section: Section) -> Iterator[str]:
    """A section: its text, its table, its notes."""
    text = textwrap.fill(section.text, 120, break_long_words=False, break_on_hyphens=False)
    yield f"## {section.title}\n\n{text}\n"
    if section.lines:
        who = columns(section.lines)
        yield f"| | Loop | {' | '.join(who)} |"
        yield f"|---|---|{'---|' * len(who)}"
        for line in section.lines:
            yield f"| {line.label(section.axis)} | {line.loop} | {' | '.join(cell(line, name) for name in who)} |"
        yield ""
    for remark in [*notes(section.lines), *section.remarks]:
        yield f"- {remark}"


def cell(line: Line, who: str) -> str:
    """A figure, and by how much we are ahead of it."""
    if who not in line.figures:
        return "-"
    figure = show(line.spread(who).median, line.unit)
    ratio = line.ratio(who)
    if ratio is None:
        return f"**{figure}**" if who == OURS else figure
    return f"{figure}<br>{show_ratio(ratio)}"


if __name__ == "__main__":
    write(Report.read(DOCS / "benchmarks" / "results.json"))
