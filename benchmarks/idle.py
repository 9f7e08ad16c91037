"""A viewer at rest: how soon it answers after its start, and how much memory its processes take.

python -m benchmarks.idle [--before REVISION]
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks import figures, hosts


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with hosts.commit(asked.before) as before:
        _report(report, hosts.CHECKOUT, asked)
        if before:
            _report(report, before, asked, f", at {asked.before}")


def _report(
    report: figures.Report, checkout: Path, asked: argparse.Namespace, who: str = ""
) -> None:
    starts, sizes, processes = [], [], 0
    for _ in range(asked.rounds):
        with hosts.running(checkout) as host:
            starts.append(host.first_answer)
            time.sleep(asked.settle)  # every part is up and has looked for work
            sizes.append(host.memory())
            processes = host.processes()
    start, size = statistics.median(starts), statistics.median(sizes)
    report.add("idle.memory", size, "MB", f"{processes} processes", before=bool(who))
    report.add("idle.start", start, "s", before=bool(who))
    report.say(
        f"viewer up{who}: first answer after {start:.1f} s; "
        f"{size:.0f} MB (PSS) at rest in {processes} processes"
    )


if __name__ == "__main__":
    figures.run(__doc__, measure, has_before=True, rounds=(3, 1), settle=(5.0, 0.5))
