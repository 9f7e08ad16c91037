"""Catch-up over REST beside the pace that we keep: 5 requests a second of the 10 a key may ask.

`viewer catch-up` reads a workspace of a stand-in that it could not finish in this time. Requests
are counted from the first answer on; the stand-in answers at once.

    python -m benchmarks.catch_up [--seconds 20]
"""

import argparse
import os
import subprocess
import tempfile
import time

import flask_migrate

from benchmarks import figures, first_import, hosts
from viewer import create_app
from viewer.demo.provider import Provider
from viewer.quo.rest import PER_SECOND


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, Provider() as provider:
        work = first_import.workspace(provider)
        environment = os.environ | first_import.settings(folder, work.mount(provider))
        with create_app({"DATA_DIR": folder}).app_context():
            flask_migrate.upgrade()
        process = subprocess.Popen(
            [*hosts.VIEWER, "catch-up"], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            hosts.wait(lambda: len(work.asked) > PER_SECOND, 60)  # it may begin with a burst
            first, texts, cpu = len(work.asked), _texts(folder), hosts.cpu_of(process.pid)
            begun = time.monotonic()
            time.sleep(asked.seconds)
            took = time.monotonic() - begun
            requests, texts = len(work.asked) - first, _texts(folder) - texts
            cpu = hosts.cpu_of(process.pid) - cpu
            assert process.poll() is None, "it ended sooner than the measurement"
        finally:
            process.kill()
            process.wait()
    rate = requests / took
    each = cpu / texts * 1000
    report.add("catch_up.pace", rate / PER_SECOND, detail=f"{rate:.1f}/s; {each:.1f} ms CPU a text")
    report.say(
        f"catch-up: {rate:.2f} requests a second, {rate / PER_SECOND:.2f} of our pace; "
        f"{texts / took:.0f} texts a second, {each:.1f} ms CPU each"
    )


def _texts(folder: str) -> int:
    return first_import.counts(folder)[1]


if __name__ == "__main__":
    figures.run(__doc__, measure, seconds=(20.0, 2.0))
