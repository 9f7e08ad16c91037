"""A move of many originals to S3 beside `rclone copy` and `rclone check --download`.

Both place the same files, without copies, into the same server with as many threads, and both know
at the end that what is there are the bytes that were here: ours by the checksum that the server
computes, rclone's by reading everything back. Ours also writes a row for each file. Reading is
measured apart: every object is read and hashed, with the four threads that `viewer verify` takes,
beside the same check of rclone. The server runs on this machine and shares its processors with
both, so what counts is the ratio.

    python -m benchmarks.move [--files 2000] [--kilobytes 200] [--threads 8] [--rounds 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import flask_migrate
import sqlalchemy as sa

from tests.support import factories, object_stores
from tests.support.stored_files import keep
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep import identity, move
from viewer.upkeep.threads import in_threads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    size = asked.files * asked.kilobytes / 1000  # MB
    rates: dict[str, list[float]] = {}
    with object_stores.running_seaweed() as server:
        for number in range(asked.rounds):
            with viewer(asked.files, asked.kilobytes * 1000) as root:
                url = server.address(server.new_bucket(), "photos")
                rclone = Rclone(root, server, asked.threads)
                work: list[tuple[str, Callable[[], object]]] = [
                    ("move, ours", partial(ours, url, asked.threads)),
                    ("move, rclone", rclone.copy_and_check),
                    ("read, ours", read),
                    ("read, rclone", rclone.check),
                ]
                if number % 2:  # who comes second finds the disk's cache warm
                    work = [work[1], work[0], work[3], work[2]]
                for name, what in work:
                    begun = time.monotonic()
                    what()
                    rates.setdefault(name, []).append(size / (time.monotonic() - begun))
    print(f"{asked.files} files of {asked.kilobytes} kB, {asked.threads} threads")
    for verb in ("move", "read"):
        ours_rate, peer = (statistics.median(rates[f"{verb}, {who}"]) for who in ("ours", "rclone"))
        ratios = [
            o / p for o, p in zip(rates[f"{verb}, ours"], rates[f"{verb}, rclone"], strict=True)
        ]
        print(
            f"{verb}: {ours_rate:.0f} MB/s, rclone {peer:.0f} MB/s,"
            f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return 0


@contextmanager
def viewer(files: int, size: int) -> Iterator[Path]:
    """A viewer with so many originals of so many bytes; its media folder."""
    with tempfile.TemporaryDirectory(prefix="move") as name:
        app = create_app(
            {
                "DATA_DIR": name, "REDIS_URL": "unix:///nowhere",
                **object_stores.SETTINGS,
            }
        )  # fmt: skip
        with app.app_context():
            flask_migrate.upgrade()
            identity.ensure()
            text = factories.text(factories.customer("+16175550123"))
            for position in range(files):
                keep(b"\xff\xd8\xff\xe0" + os.urandom(size), text, position=position)
            db.session.commit()
            yield app.config["SETTINGS"].media_root
            db.session.remove()
            db.engine.dispose()


def ours(url: str, threads: int) -> None:
    target = move.find(url)
    move.take(target)
    result = move.Move(target, threads, move.Pace(None)).run(lambda _files, _size: None)
    assert result.is_whole, result


def read() -> None:
    media = MediaAttachment
    rows = db.session.execute(sa.select(media.storage, media.file_path, media.sha256)).all()
    db.session.commit()
    store = holdings.store(rows[0].storage)

    def compare(row: Any) -> holdings.Finding:
        return holdings.compare_bytes(store, row.file_path, row.sha256)

    found = {finding for _, finding in in_threads(compare, iter(rows))}
    assert found == {holdings.Finding.SAME}


class Rclone:
    """The same folder, to a bucket of its own on the same server."""

    def __init__(self, root: Path, server: object_stores.ObjectStore, threads: int) -> None:
        self.source, self.threads = str(root), str(threads)
        self.target = f"bench:{server.new_bucket()}"
        prefix = "RCLONE_CONFIG_BENCH_"
        self.environment = os.environ | {
            f"{prefix}TYPE": "s3", f"{prefix}PROVIDER": "SeaweedFS",
            f"{prefix}ENDPOINT": server.endpoint, f"{prefix}REGION": object_stores.REGION,
            f"{prefix}ACCESS_KEY_ID": object_stores.CREDENTIALS.access_key_id,
            f"{prefix}SECRET_ACCESS_KEY": object_stores.CREDENTIALS.secret_access_key,
        }  # fmt: skip

    def copy_and_check(self) -> None:
        self._run("copy", "--transfers", self.threads)
        self.check()

    def check(self) -> None:
        self._run("check", "--download", "--one-way", "--checkers", self.threads)

    def _run(self, verb: str, *words: str) -> None:
        subprocess.run(
            [object_stores.program("rclone"), verb, self.source, self.target, "--quiet",
             "--config", "/dev/null", "--exclude", ".viewer-store", "--exclude", ".incoming/**",
             *words],
            env=self.environment, check=True,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
