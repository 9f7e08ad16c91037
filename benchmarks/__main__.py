"""Measure everything in the table of docs/performance.md in one run, and write that page.

    python -m benchmarks                what `make bench` does: at most 15 minutes on 2 idle cores
    python -m benchmarks --quick        tiny numbers, to see that each works; writes nothing
    python -m benchmarks --draw         the table and the plots again, from the last run's figures
    python -m benchmarks verify …       one of those that stand apart, into its block of the page

Each benchmark also runs alone: python -m benchmarks.door. What follows `--` is passed on to one
that stands apart.
"""

import itertools
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, page, plots
from benchmarks.figures import Report
from benchmarks.page import Measured

BEFORE = "2703d1f"  # the last commit before the issue “Measured speed”
DOCS = Path(__file__).parent.parent / "docs"
PAGE, KEPT, PLOTS = DOCS / "performance.md", DOCS / "performance.json", DOCS / "performance"
LIMIT = 900  # seconds, of one run on 2 idle cores
# In one run, with the share of each in seconds. Those that write little come first.
SHARES = {
    "idle": 60,
    "door": 180,
    "burst": 125,
    "ingest": 85,
    "catch_up": 35,
    "files": 60,
    "zips": 20,
    "journey": 50,
    "copies": 65,
    "pages": 20,
    "growth": 190,
}
WITH_BEFORE = ("idle", "door", "burst", "files")
# They take long, or need what is not installed everywhere.
APART = (
    "size", "confinement", "first_import", "verify", "stores", "move", "serving", "backup",
    "restore", "db_copy",
)  # fmt: skip


def main(words: list[str]) -> int:
    options = list(itertools.dropwhile(lambda word: not word.startswith("--"), words))
    names = words[: len(words) - len(options)]
    if names:
        return _run_apart(names, options)
    if options == ["--draw"]:
        _write(page.read(KEPT))
        return 0
    is_quick = options == ["--quick"]
    if options and not is_quick:
        print(__doc__, file=sys.stderr)
        return 2
    begun, facts = time.monotonic(), machine.describe()
    reports = {name: _run(name, is_quick) for name in SHARES}
    measured = Measured.now(reports, facts, BEFORE, time.monotonic() - begun)
    print(page.table_of(measured))
    print(f"{measured.seconds:.0f} s in all")
    if not is_quick:
        measured.write(KEPT)
        _write(measured)
    return 0


def _run(name: str, is_quick: bool) -> Report:
    """In a process of its own. Raises CalledProcessError if it fails."""
    options = ["--quick"] if is_quick else []
    if name in WITH_BEFORE and not is_quick:
        options += ["--before", BEFORE]
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", file.name]
        subprocess.run(command, check=True)
        report = Report.from_json(json.load(file))
    report.seconds = time.monotonic() - begun
    print(f"# {name}: {report.seconds:.0f} s, of {SHARES[name]} s\n", file=sys.stderr, flush=True)
    return report


def _write(measured: Measured) -> None:
    """The table into the page, and the plots beside it."""
    PAGE.write_text(page.with_block(PAGE.read_text(), "bench", page.render(measured)))
    PLOTS.mkdir(exist_ok=True)
    plots.draw(measured, PLOTS)


def _run_apart(names: list[str], options: list[str]) -> int:
    if unknown := set(names) - set(APART):
        print(f"No block of the page for {', '.join(unknown)}: say {APART}", file=sys.stderr)
        return 2
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        print(done.stdout)
        if done.returncode:
            return done.returncode
        day = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
        printed = f"On {day}:\n\n```text\n{done.stdout.strip()}\n```"
        PAGE.write_text(page.with_block(PAGE.read_text(), name, printed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
