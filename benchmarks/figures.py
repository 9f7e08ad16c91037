"""What a benchmark finds: figures for the table, lines to read, curves for the plots.

Each benchmark is a function `measure(report, asked)`, run by `figures.run` with its numbers: how
much is measured usually, and how little with `--quick`, which only shows that it works.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Figure:
    key: str  # of its row in benchmarks/table.py
    value: float
    unit: str = "times"
    detail: str = ""  # what the value was made of


@dataclass
class Report:
    """The findings of one benchmark; `before` are those of the revision it was compared with."""

    figures: list[Figure] = field(default_factory=list)
    before: list[Figure] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    seconds: float = 0.0

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def add(
        self, key: str, value: float, unit: str = "times", detail: str = "", *, before: bool = False
    ) -> None:
        (self.before if before else self.figures).append(Figure(key, value, unit, detail))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        return cls(
            [Figure(**one) for one in kept["figures"]],
            [Figure(**one) for one in kept["before"]],
            kept["lines"],
            {name: [(x, y) for x, y in points] for name, points in kept["curves"].items()},
            kept["seconds"],
        )


def run(
    about: str | None,
    measure: Callable[[Report, argparse.Namespace], None],
    *,
    has_before: bool = False,
    parser: argparse.ArgumentParser | None = None,
    **numbers: tuple[float, float],
) -> None:
    """Run a benchmark from the command line. `numbers`: options, as usual and with --quick.

    `parser` has options of the benchmark's own.
    """
    parser = parser or argparse.ArgumentParser()
    parser.description = (about or "").partition("\n")[0]
    parser.add_argument("--quick", action="store_true", help="tiny numbers: does it work?")
    parser.add_argument("--json", type=Path, help="write the findings into this file")
    if has_before:
        parser.add_argument("--before", help="a revision to measure beside this one")
    for name, (usual, quick) in numbers.items():
        parser.add_argument(
            f"--{name}", type=type(usual), help=f"{usual} by default; {quick} with --quick"
        )
    asked = parser.parse_args()
    for name, choice in numbers.items():
        if getattr(asked, name) is None:
            setattr(asked, name, choice[asked.quick])
    report = Report()
    measure(report, asked)
    if asked.json:
        asked.json.write_text(json.dumps(report.to_json()))


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def quantiles(values: list[float], points: int = 100) -> Curve:
    """The distribution of these values: (value, share of all that are at most this)."""
    ranked = sorted(values)
    last = len(ranked) - 1
    return [(round(ranked[last * n // points], 2), n / points) for n in range(points + 1)]
