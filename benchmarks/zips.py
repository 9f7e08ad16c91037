"""A ZIP of originals, downloaded from `viewer web`, beside `zip -0` of the same files.

The viewer asks the session and the rows, hashes each file while it streams, and writes nothing;
`zip` hashes by CRC and writes to a pipe. They take turns.

    python -m benchmarks.zips [--files 100] [--rounds 3]
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from benchmarks import figures, file_store, hosts
from tests.support import staff

SIZE = 2_000_000  # bytes of an original


def download(browser: requests.Session, base: str, form: dict[str, object]) -> int:
    with browser.post(f"{base}/photos/zip", data=form, stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/zip", answer.text[:300]
        return sum(len(part) for part in answer.iter_content(1 << 18))


def pack(folder: Path, keys: list[str]) -> int:
    with subprocess.Popen(
        ["zip", "-0", "-q", "-", *keys], cwd=folder, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        length = 0
        while part := process.stdout.read(1 << 18):
            length += len(part)
    assert process.returncode == 0
    return length


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stored = file_store.fill(folder, [SIZE] * asked.files)
        ids, keys = [one.id for one in stored], [one.original for one in stored]
        staff.hire(os.environ | file_store.settings(folder))
        with file_store.viewer_web(folder, hosts.CHECKOUT) as (port, pid):
            base = f"http://127.0.0.1:{port}"
            browser = staff.enter(base)
            token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(base).text)
            assert token
            form: dict[str, object] = {"media": ids, "csrf_token": token[1]}
            ours, peers, cpu, length = [], [], 0.0, 0
            for turn in range(asked.rounds + 1):  # the first warms up
                before, begun = hosts.cpu_of(pid), time.monotonic()
                length = download(browser, base, form)
                took, used = time.monotonic() - begun, hosts.cpu_of(pid) - before
                begun = time.monotonic()
                packed = pack(folder / "media", keys)
                if turn:
                    ours.append(took)
                    cpu += used / asked.rounds
                    peers.append(time.monotonic() - begun)
            assert abs(length - packed) < packed // 10, (length, packed)
    mine, peer = statistics.median(ours), statistics.median(peers)
    rate, its = length / mine / 1e6, packed / peer / 1e6
    each = cpu / (length / 1e8) * 1000
    report.add(
        "zips.rate", rate / its, detail=f"{rate:,.0f} of {its:,.0f} MB/s; {each:.0f} ms CPU/100 MB"
    )
    report.say(
        f"a ZIP of {asked.files} originals, {length / 1e6:,.0f} MB: {rate:,.0f} MB/s, "
        f"{each:.0f} ms CPU for 100 MB; zip -0: {its:,.0f} MB/s; {rate / its:.2f} times its rate"
    )


if __name__ == "__main__":
    figures.run(__doc__, measure, files=(100, 5), rounds=(3, 1))
