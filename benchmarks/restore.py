"""A restore beside `restic restore` and `rsync -a` of the same files; a drill; --only-missing.

10,000 originals of 200 kB (2 GB), on SQLite. They do not do the same: ours hashes every file on its
way and fsyncs it; restic hashes, and rsync does neither. The page cache is warm for all.

Before that the memory of a restore of a million rows whose files survived (hard links to a few of
a few bytes, laid out as by `benchmarks.backup`): each is read and hashed, and none is copied.

    python -m benchmarks.restore [--files 10000] [--originals 1000000] [--folder /tmp/restore]
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flask_migrate
from flask import Flask

from benchmarks import backup
from benchmarks.verify import timed
from tests.support import factories, stored_files
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.upkeep import identity
from viewer.upkeep.backup import record
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.drill import run as drills
from viewer.upkeep.restore import checks, missing, run
from viewer.upkeep.restore.result import Result

SIZE = 200_000  # bytes of an original


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--originals", type=int, default=1_000_000)
    parser.add_argument("--lay-out", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/restore"))  # noqa: S108
    words = parser.parse_args()
    logging.disable(logging.ERROR)  # each of 10,000 missing files is an error of its own
    if words.lay_out:
        return _lay_out(words.originals, words.folder)
    if words.run:
        return _measured_run(words.folder)
    for measure, count in ((_memory, words.originals), (_measure, words.files)):
        shutil.rmtree(words.folder, ignore_errors=True)
        words.folder.mkdir()
        try:
            measure(count, words.folder)
        finally:
            shutil.rmtree(words.folder)
    return 0


def _measure(files: int, folder: Path) -> None:
    url = f"folder:{folder / 'backup'}"
    with _app(folder / "old").app_context():
        flask_migrate.upgrade()
        identity.ensure()
        message = factories.text(factories.customer())
        for _ in range(files):
            stored_files.keep(os.urandom(SIZE), message)
        assert record.back_up(url, same_filesystem=True).is_good
    shutil.rmtree(folder / "old")

    pool = folder / "backup" / "media"
    _restic(folder, "init")
    _restic(folder, "backup", str(pool))
    with _app(folder / "new").app_context():
        ours, result = timed(lambda: _restore(url, folder))
        assert isinstance(result, Result)
        assert result.is_whole
        print(f"viewer restore                {ours:6.1f} s, {files / ours:7,.0f} files/s")
    copy = folder / "copy"
    for name, peer in (
        ("restic restore", lambda: _restic(folder, "restore", "latest", f"--target={copy}")),
        ("rsync -a", lambda: subprocess.run(["rsync", "-a", f"{pool}/", str(copy)], check=True)),
    ):
        theirs, _ = timed(peer)
        shutil.rmtree(copy)
        print(
            f"{name:29} {theirs:6.1f} s, {files / theirs:7,.0f} files/s;"
            f" ours took {ours / theirs:.1f} times as long"
        )
    with _app(folder / "new").app_context():
        identity.ensure()
        target = targets.open_target(url)
        nothing, _ = timed(lambda: missing.bring_back(target))
        print(f"--only-missing, all are there {nothing:6.1f} s")
        shutil.rmtree(holdings.own().root / "2026")  # type: ignore[attr-defined]
        everything, _ = timed(lambda: missing.bring_back(target))
        print(f"--only-missing, none is there {everything:6.1f} s")
        drill, _ = timed(lambda: drills.drill(url))
        print(f"viewer drill                  {drill:6.1f} s")
        db.engine.dispose()


def _restic(folder: Path, *words: str) -> None:
    own = {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(folder / "restic")}
    command = ["restic", "--quiet", "--no-cache", *words]
    subprocess.run(command, env=os.environ | own, check=True)


def _restore(url: str, folder: Path) -> Result:
    return run.restore(checks.make_plan(url, None), lambda more: _app(folder / "new", more))


def _memory(originals: int, folder: Path) -> None:
    """In fresh processes, so that nothing is measured but the restore."""
    command = [sys.executable, "-m", "benchmarks.restore", "--folder", str(folder)]
    subprocess.run([*command, "--lay-out", f"--originals={originals}"], check=True)
    done = subprocess.run([*command, "--run"], check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout.strip())


def _lay_out(originals: int, folder: Path) -> int:
    """A viewer with a backup, whose database is lost."""
    app = _app(folder / "old")
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        backup.lay_out(originals, app.config["SETTINGS"].media_root, folder)
        assert record.back_up(f"folder:{folder / 'target'}", same_filesystem=True).is_good
        db.session.remove()
        db.engine.dispose()
    for path in (folder / "old").glob("viewer.db*"):
        path.unlink()
    return 0


def _measured_run(folder: Path) -> int:
    with _app(folder / "old").app_context():
        before = backup.peak()
        plan = checks.make_plan(f"folder:{folder / 'target'}", None, keep_files=True)
        seconds, result = timed(lambda: run.restore(plan, lambda more: _app(folder / "old", more)))
    assert isinstance(result, Result)
    assert result.is_whole
    print(
        f"a restore of {result.files:,} rows whose files are there: {seconds:.0f} s, peak memory"
        f" {backup.peak():.0f} MB (before: {before:.0f})"
    )
    return 0


def _app(home: Path, more: dict[str, Any] | None = None) -> Flask:
    home.mkdir(exist_ok=True)
    settings = {"DATA_DIR": home, "REDIS_URL": "unix:///nowhere"}
    return create_app(settings | {"LOG_LEVEL": "ERROR"} | (more or {}))


if __name__ == "__main__":
    sys.exit(main())
