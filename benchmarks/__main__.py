"""Run benchmarks and write what they printed into docs/performance.md, each into its own block.

python -m benchmarks [journey] [size] [first_import] [verify] [stores] [backup] [restore] [copies]
    [ingest] [burst] [door] [pages] [files] [idle]

    [--OPTION …]

Without a name: journey and size. What follows `--` is passed on, such as `--before REVISION`.
"""

import itertools
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main(words: list[str]) -> int:
    options = list(itertools.dropwhile(lambda word: not word.startswith("--"), words))
    names = words[: len(words) - len(options)]
    for name in names or ["journey", "size"]:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        print(done.stdout)
        if done.returncode:
            return done.returncode
        PAGE.write_text(with_block(PAGE.read_text(), name, done.stdout))
    return 0


def with_block(page: str, name: str, printed: str) -> str:
    """The page with what this benchmark printed in its block. Raises ValueError without one."""
    day = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    block = f"<!-- {name} -->\n\nOn {day}:\n\n```text\n{printed.strip()}\n```\n\n<!-- /{name} -->"
    marked = re.compile(rf"<!-- {name} -->.*<!-- /{name} -->", re.DOTALL)
    if not marked.search(page):
        raise ValueError(f"docs/performance.md has no block for {name}")
    return marked.sub(lambda _: block, page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
