"""What one run of all benchmarks found: kept in a file, and rendered for docs/performance.md."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from benchmarks import machine, table
from benchmarks.figures import Report

PLOTS = {
    "goals": "What was reached, as a part of what is asked: right of the line is met",
    "webhook": "Until a webhook is answered: share of the requests that took at most this long",
    "burst": "A burst of photos: how many are stored, and have thumbnails, after how long",
}


@dataclass(frozen=True)
class Measured:
    at: str
    seconds: float
    revision: str
    before: str  # the revision that was measured beside this one
    machine: dict[str, str]
    versions: dict[str, str]
    reports: dict[str, Report]

    @classmethod
    def now(
        cls, reports: dict[str, Report], facts: dict[str, str], before: str, seconds: float
    ) -> Self:
        at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        return cls(at, seconds, machine.revision(), before, facts, machine.versions(), reports)

    def write(self, file: Path) -> None:
        """Each benchmark on a line of its own."""
        kept = asdict(self)
        reports = [
            f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}"
            for name, one in kept.pop("reports").items()
        ]
        head = json.dumps(kept, indent=1, ensure_ascii=False).removesuffix("\n}")
        file.write_text(head + ',\n "reports": {\n' + ",\n".join(reports) + "\n }\n}\n")


def read(file: Path) -> Measured:
    kept = json.loads(file.read_text())
    reports = {name: Report.from_json(one) for name, one in kept.pop("reports").items()}
    return Measured(**kept, reports=reports)


def table_of(measured: Measured) -> str:
    reports = measured.reports.values()
    return table.render(
        [figure for report in reports for figure in report.figures],
        [figure for report in reports for figure in report.before],
    )


def render(measured: Measured) -> str:
    """All of the run's block: table, plots, machine, and what each benchmark printed."""
    facts = {**measured.machine, **measured.versions}
    plots = [f"![{words}](performance/{name}.svg)\n\n{words}." for name, words in PLOTS.items()]
    printed = [
        f"{name}, {report.seconds:.0f} s:\n\n```text\n" + "\n".join(report.lines) + "\n```"
        for name, report in measured.reports.items()
    ]
    parts = [
        f"Measured on {measured.at} at {measured.revision}, in one run of"
        f" {measured.seconds / 60:.1f} minutes; “before” is {measured.before}.",
        table_of(measured),
        "; ".join(f"{name}: {value}" for name, value in facts.items()) + ".",
        *plots,
        "### What each benchmark printed",
        *printed,
    ]
    return "\n\n".join(parts)


def with_block(text: str, name: str, content: str) -> str:
    """The page with this in its block. Raises ValueError if it has none of this name."""
    marked = re.compile(rf"<!-- {name} -->.*<!-- /{name} -->", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"docs/performance.md has no block for {name}")
    block = f"<!-- {name} -->\n\n{content}\n\n<!-- /{name} -->"
    return marked.sub(lambda _: block, text)
