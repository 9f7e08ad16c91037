"""A backup to a folder, beside `restic backup` and `rsync -a` with SQLite's own `.backup`.

First 10,000 originals of 200 kB (2 GB), then 50 new ones, on SQLite, while another process goes on
receiving webhooks. Each of the three gets what it needs to be fair: the same originals, a copy of
the database, a place of its own on the same disk. They do not do the same: ours fsyncs each file
and reads all that it wrote back from the target; restic reads nothing back, and rsync neither
fsyncs nor reads.

Then the memory of one run with a million originals, each with a thumbnail and a preview, as the
first of a day in use for long: store and pool have three million names (hard links to a few files
of a few bytes), yesterday's snapshot is verified, and a thirtieth of the pool is read. Names and
snapshot of the pool were laid out by this benchmark, not by a first run, which would fsync them
one by one.

    python -m benchmarks.backup [--files 10000] [--originals 1000000] [--folder /tmp/backup]
"""

import argparse
import contextlib
import functools
import hashlib
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import flask_migrate
import sqlalchemy as sa
from flask import Flask

from benchmarks import verify
from tests.support.children import in_child
from viewer import create_app
from viewer.extensions import db, now, sqlite_driver
from viewer.models import MediaAttachment, UpkeepRun, WebhookEvent
from viewer.upkeep import identity
from viewer.upkeep.backup import database, record, snapshots
from viewer.upkeep.backup.listing import SLICES, Listing, slice_of
from viewer.upkeep.backup.result import Result
from viewer.upkeep.backup.targets import target as targets

SIZE = 200_000  # bytes of an original
NEW = 50  # originals, for the second backup
PAUSE = 0.02  # seconds between two webhooks
BODY = json.dumps({"type": "message.received", "text": "a crack in the wall " * 50}).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--originals", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/backup"))  # noqa: S108
    parser.add_argument("--run", action="store_true", help="One run alone: used for its memory.")
    words = parser.parse_args()
    if words.run:
        return _measured_run(words.folder)
    for part, count in ((_speed, words.files), (_memory, words.originals)):
        shutil.rmtree(words.folder, ignore_errors=True)
        words.folder.mkdir()
        part(count, words.folder)
        shutil.rmtree(words.folder)
    return 0


def _app(folder: Path) -> Flask:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return create_app({"DATA_DIR": home, "REDIS_URL": "unix:///nowhere"})


# --- Speed ---------------------------------------------------------------------------------


class _Ours:
    name = "ours"

    def __init__(self, folder: Path) -> None:
        self.place = folder / "ours"
        self.stages: dict[str, float] = {}

    def begin(self, stage: str, length: int) -> None:
        self.stages[stage] = time.monotonic()

    def advance(self, count: int) -> None:
        """Of no interest."""

    def back_up(self, root: Path) -> None:
        result = record.back_up(f"folder:{self.place}", same_filesystem=True, progress=self)
        assert result.is_good, result.words


class _Restic:
    name = "restic"

    def __init__(self, folder: Path) -> None:
        self.place, self._copy = folder / "restic", folder / "staged" / "database.sqlite3"
        self._copy.parent.mkdir(exist_ok=True)
        self._run("init")

    def back_up(self, root: Path) -> None:
        _copy_database(self._copy)
        self._run("backup", "--host", "viewer", str(root), str(self._copy.parent))

    def _run(self, *words: str) -> None:
        environment = os.environ | {
            "RESTIC_PASSWORD": "bench",
            "RESTIC_REPOSITORY": str(self.place),
        }
        command = ["restic", "--quiet", "--no-cache", *words]
        subprocess.run(command, env=environment, check=True)


class _Rsync:
    name = "rsync"

    def __init__(self, folder: Path) -> None:
        self.place = folder / "rsync"
        self.place.mkdir()

    def back_up(self, root: Path) -> None:
        _copy_database(self.place / "database.sqlite3")
        subprocess.run(["rsync", "-a", f"{root}/", str(self.place / "media")], check=True)


def _copy_database(path: Path) -> None:
    """As the shell of SQLite does for `.backup`."""
    path.unlink(missing_ok=True)
    with (
        closing(db.engine.raw_connection()) as source,
        closing(sqlite_driver.connect(path)) as copy,
    ):
        source.driver_connection.backup(copy, pages=-1)  # type: ignore[union-attr]


def _speed(files: int, folder: Path) -> None:
    app = _app(folder)
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        root: Path = app.config["SETTINGS"].media_root
        columns = verify.columns()
        _add(range(files), root, columns)
        peers: list[_Ours | _Restic | _Rsync] = [_Ours(folder), _Restic(folder), _Rsync(folder)]
        print(f"{files:,} originals of {SIZE / 1000:.0f} kB, beside a writer of webhooks:")
        _compare(peers, root, folder, "first backup")
        _add(range(files, files + NEW), root, columns)
        _compare(peers, root, folder, f"{NEW} new originals")
        db.engine.dispose()


def _compare(peers: list[_Ours | _Restic | _Rsync], root: Path, folder: Path, what: str) -> None:
    taken: dict[str, float] = {}
    for peer in peers:
        os.sync()
        before = _bytes_below(peer.place)
        with _writing(folder) as latencies:
            taken[peer.name], _ = verify.timed(functools.partial(peer.back_up, root))
            ended = time.monotonic()
        size = _bytes_below(peer.place) - before
        words = f"{taken[peer.name]:.1f} s, {size / 1e6:,.1f} MB more in the target"
        if peer.name != "ours":
            words += f"; ours took {taken['ours'] / taken[peer.name]:.1f} times as long"
        elif isinstance(peer, _Ours):
            comparing = ended - peer.stages["comparing"]
            words += f" ({comparing:.1f} s of it compared what was written)"
        typical, worst = statistics.median(latencies), max(latencies)
        print(
            f"  {what}, {peer.name}: {words}; "
            f"{len(latencies):,} webhooks meanwhile, median {typical * 1000:.1f} ms,"
            f" worst {worst * 1000:.0f} ms"
        )


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[list[float]]:
    """Another process records webhooks; what each took is in the list at the end."""
    latencies: list[float] = []
    over, report = folder / "over", folder / "latencies"
    over.unlink(missing_ok=True)
    db.session.remove()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            db.engine.dispose(close=False)
            _write(over, report)
            status = 0
        finally:
            os._exit(status)
    try:
        yield latencies
    finally:
        over.touch()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    latencies += json.loads(report.read_text())


def _write(over: Path, report: Path) -> None:
    latencies = []
    while not over.exists():
        begun = time.monotonic()
        WebhookEvent.record(f"msg_{uuid.uuid4()}", "standard", BODY)
        db.session.commit()
        latencies.append(time.monotonic() - begun)
        time.sleep(PAUSE)
    report.write_text(json.dumps(latencies))


def _add(numbers: range, root: Path, columns: dict[str, object]) -> None:
    """An original of random bytes, and its row, for each number."""
    rows = []
    for number in numbers:
        content, name = os.urandom(SIZE), verify.key(number)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        own = {"file_size": SIZE, "sha256": hashlib.sha256(content).hexdigest(),
               "id": uuid.uuid4(), "file_path": name, "file_stem": name.removesuffix(".jpg"),
               "source_key": str(number)}  # fmt: skip
        rows.append(columns | own)
    db.session.execute(sa.insert(MediaAttachment), rows)
    db.session.commit()


def _bytes_below(folder: Path) -> int:
    return sum(
        (Path(where) / name).lstat().st_size
        for where, _, names in os.walk(folder)
        for name in names
    )


# --- Memory --------------------------------------------------------------------------------


def _memory(originals: int, folder: Path) -> None:
    app = _app(folder)
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        root: Path = app.config["SETTINGS"].media_root
        seconds, _ = verify.timed(lambda: in_child(lambda: lay_out(originals, root, folder)))
        print(f"laid out in {seconds:.0f} s", file=sys.stderr)
        db.engine.dispose()
    command = [sys.executable, "-m", "benchmarks.backup", "--run", "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout.strip())


def lay_out(originals: int, root: Path, folder: Path) -> None:
    """Rows and names in the store, the same names in the pool, and yesterday's snapshot of them."""
    verify.fill(originals, root, _content_of)
    target = targets.mark(f"folder:{folder / 'target'}")
    _link_all(root, folder / "target" / "media")
    _take_snapshot(target, originals)


def _content_of(lot: int) -> bytes:
    """Bytes that are read on one day of the cycle, another one for each lot."""
    return next(
        content
        for content in (b"crack %d" % number for number in itertools.count())
        if slice_of(hashlib.sha256(content).hexdigest()) == lot % SLICES
    )


def _link_all(root: Path, pool: Path) -> None:
    """Each name of the store also in the pool: links to files of the pool's own."""
    sources: dict[int, Path] = {}
    for where, _, names in os.walk(root):
        below = pool / Path(where).relative_to(root)
        below.mkdir(parents=True, exist_ok=True)
        for path in (Path(where) / name for name in names if not name.startswith(".")):
            inode = path.stat().st_ino
            if inode in sources:
                os.link(sources[inode], below / path.name)
            else:
                shutil.copy(path, below)
                sources[inode] = below / path.name


def _take_snapshot(target: targets.Target, originals: int) -> None:
    moment = now() - timedelta(days=1)
    name = snapshots.name_of(1, moment)
    place = f"{snapshots.PREFIX}{name}/"
    work = target.spool.decoder_folder()
    with database.copied(work) as copy, closing(Listing()) as listing:
        listing.read_rows(copy.connection)
        with copy.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        target.store.place(place + copy.name, copy.path)
        described = {"name": copy.name, "size": copy.path.stat().st_size, "sha256": sha256}
        listed = snapshots.write_list(target, name, listing.promised(), (copy.name, sha256))
    facts = {"number": 1, "taken_at": snapshots.stamp(moment), "database": described,
             "list": listed, "files": originals}  # fmt: skip
    snapshot = snapshots.complete(target, name, facts)
    snapshots.mark_verified(target, snapshot, {"read_on": f"{moment:%Y-%m-%d}"})
    shutil.rmtree(work)


class _Peaks:
    """The highest memory so far, at the beginning of each stage."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.said: list[str] = []

    def begin(self, stage: str, length: int) -> None:
        seconds = time.monotonic() - self.begun
        self.said.append(f"{peak():.0f} MB and {seconds:.0f} s before {stage} {length:,}")

    def advance(self, count: int) -> None:
        """Of no interest."""


def _measured_run(folder: Path) -> int:
    app = _app(folder)
    with app.app_context():
        identity.ensure()
        before, watch = peak(), _Peaks()
        seconds, result = verify.timed(
            lambda: record.back_up(
                f"folder:{folder / 'target'}", same_filesystem=True, progress=watch
            )
        )
    assert isinstance(result, Result)
    assert result.outcome is UpkeepRun.Outcome.GOOD, result.words
    counts = result.counts
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"one run with {counts['files']:,} originals with two copies each, {counts['read']:,} of"
        f" them read: {seconds:.0f} s, peak memory {peak():.0f} MB (before: {before:.0f};"
        f" of children: {children:.0f}); {', '.join(watch.said)}"
    )
    return 0


def peak() -> float:
    """MB; of this program alone, where `getrusage` would count whoever started it as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
