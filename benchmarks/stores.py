"""How quick is a store in S3 beside one in a folder? The same files, the same threads.

A file is put as a download is: written and fsynced in the spool, then placed. It is read to its end
and hashed. The server runs on this machine and shares its processors and its disk with us, so what
counts is the ratio. A network adds its own time to each request.

    python -m benchmarks.stores [--files 1000] [--kilobytes 330] [--threads 8] [--rounds 3]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import object_stores
from tests.support.stored_files import place
from viewer.storage import Spool, Store, Workspace, checksum, from_url


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kilobytes", type=int, default=330)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with object_stores.running_seaweed() as server, tempfile.TemporaryDirectory() as name:
        bucket = server.new_bucket()
        for number in range(asked.rounds):
            root = Path(name) / str(number)
            content = os.urandom(asked.kilobytes * 1000)
            addresses = {"folder": f"folder:{root}", "S3": server.address(bucket, str(number))}
            for kind, address in addresses.items():
                store = from_url(address, credentials=object_stores.CREDENTIALS)
                for verb, work in _work(store, Workspace(root, store), content).items():
                    seconds = _time(work, asked.files, asked.threads)
                    rates.setdefault(f"{verb} {kind}", []).append(asked.files / seconds)
    print(f"{asked.files} files of {asked.kilobytes} kB, {asked.threads} threads")
    for verb in ("put", "read"):
        folder_rate, s3_rate = (statistics.median(rates[f"{verb} {k}"]) for k in ("folder", "S3"))
        print(
            f"{verb}: folder {folder_rate:.0f} files/s"
            f" ({folder_rate * asked.kilobytes / 1000:.0f} MB/s), S3 {s3_rate:.0f} files/s"
            f" ({s3_rate * asked.kilobytes / 1000:.0f} MB/s), ratio {s3_rate / folder_rate:.2f}"
        )
    return 0


def _work(store: Store, spool: Spool, content: bytes) -> dict[str, Callable[[int], object]]:
    return {
        "put": lambda number: place(
            number.to_bytes(4) + content, f"2026/11/26/{number}.jpg", spool, store
        ),
        "read": lambda number: checksum(store.open(f"2026/11/26/{number}.jpg")),
    }


def _time(work: Callable[[int], object], files: int, threads: int) -> float:
    begun = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(files)))
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
