"""The export of a million originals: without links, with them, and again with nothing new.

`cp -al` makes the same links for comparison. The folder must not be on a file system in memory.

    python -m benchmarks.export [--originals 1000000] [--folder /var/tmp/export]
"""

import argparse
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import flask_migrate

from benchmarks.verify import fill, timed
from tests.support.children import in_child
from viewer import create_app
from viewer.extensions import db
from viewer.upkeep import export, identity

AT_ONCE = 10_000  # originals that share a file: with links and copies of these it has 50,000 names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--originals", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/export"))  # noqa: S108
    words = parser.parse_args()
    shutil.rmtree(words.folder, ignore_errors=True)
    data, target = words.folder / "data", words.folder / "export"
    data.mkdir(parents=True)
    app = create_app({"DATA_DIR": data, "REDIS_URL": "unix:///nowhere"})
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        root = app.config["SETTINGS"].media_root
        in_child(lambda: fill(words.originals, root, at_once=AT_ONCE))
        before = _peak()
        for name, links in (
            ("addresses", False), ("links", True), ("the same again", True),
        ):  # fmt: skip
            seconds, result = timed(lambda links=links: export.run(target, links=links))  # type: ignore[misc]
            assert isinstance(result, export.Result)
            assert (result.files, result.not_there) == (words.originals, [])
            size = result.manifest.stat().st_size / 1e6
            print(
                f"{name}: {seconds:.0f} s, {words.originals / seconds:,.0f} originals/s,"
                f" manifest of {size:,.0f} MB, peak memory {_peak():.0f} MB (before: {before:.0f})",
                flush=True,
            )
        db.engine.dispose()
    copy = ["cp", "-al", str(target / "originals"), str(words.folder / "links")]
    seconds, _ = timed(lambda: subprocess.run(copy, check=True))
    print(f"cp -al of the same links: {seconds:.0f} s")
    shutil.rmtree(words.folder)
    return 0


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
