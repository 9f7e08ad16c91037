"""A viewer at rest: how soon it answers after its start, and how much memory its processes take.

python -m benchmarks.idle [--before REVISION]
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks import hosts

ROUNDS = 3
SETTLES = 5.0  # seconds until every part is up and has looked for work


def measure(checkout: Path) -> tuple[float, float, int]:
    """Seconds until the first answer, MB (PSS) at rest, and how many processes."""
    starts, sizes, processes = [], [], 0
    for _ in range(ROUNDS):
        with hosts.running(checkout) as host:
            starts.append(host.first_answer)
            time.sleep(SETTLES)
            sizes.append(host.memory())
            processes = host.processes()
    return statistics.median(starts), statistics.median(sizes), processes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", help="a revision to measure beside this one")
    words = parser.parse_args()
    _report("now", hosts.CHECKOUT)
    if words.before:
        with hosts.commit(words.before) as checkout:
            _report(f"at {words.before}", checkout)


def _report(name: str, checkout: Path) -> None:
    first_answer, memory, processes = measure(checkout)
    print(
        f"{name}: first answer after {first_answer:.1f} s; "
        f"{memory:.0f} MB (PSS) at rest in {processes} processes",
        flush=True,
    )


if __name__ == "__main__":
    main()
