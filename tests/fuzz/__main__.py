"""Fuzz every target for a while:

    python -m tests.fuzz --seconds 3600

Says how many inputs each target was given; exits with 1 at the first that fails, shrunk.
"""

import argparse
import sys
import time

from tests.fuzz.runs import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--target", action="append", choices=[one.name for one in TARGETS])
    given = options.parse_args()
    chosen = [one for one in TARGETS if not given.target or one.name in given.target]
    print(f"{given.seconds:.0f} s for {len(chosen)} targets")
    for target in chosen:
        start = time.monotonic()
        count = fuzz(target, given.seconds / len(chosen))
        print(
            f"{target.name:<12} {count:>9,} inputs in {time.monotonic() - start:.0f} s", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
