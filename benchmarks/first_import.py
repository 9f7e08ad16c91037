"""The first import of a workspace: 7,000 conversations, 30,000 texts, 3,000 photos announced.

`viewer catch-up` reads them over REST from the stand-in, is killed in the middle, goes on, and is
run once more. What is measured: the time, and that nothing is there twice or missing.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import flask_migrate

from benchmarks import hosts
from viewer import create_app
from viewer.demo.provider import Provider
from viewer.demo.rest import LINE, Workspace
from viewer.extensions import sqlite_driver

CONVERSATIONS, TEXTS, PHOTOS = 7_000, 30_000, 3_000
OURS = "+16175550100"
KEY = "bench-key"


def workspace(provider: Provider) -> Workspace:
    work = Workspace(key=KEY)
    begun = datetime.now(UTC) - timedelta(days=700)
    for number in range(TEXTS):
        conversation = number % CONVERSATIONS
        customer = f"+1{2000000000 + conversation}"
        at = (begun + timedelta(minutes=30 * number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        photo = number % (TEXTS // PHOTOS) == 0
        url = f"{provider.url}/static/bench{number}"
        work.messages[f"ACbench-{number}"] = {
            "id": f"ACbench-{number}", "from": customer, "to": [OURS], "direction": "incoming",
            "text": f"text {number}", "status": "received",
            "media": [{"url": url, "type": "image/jpeg"}] if photo else [],
            "conversationId": f"CNbench{conversation}", "phoneNumberId": LINE,
            "userId": "USbench", "createdAt": at, "updatedAt": at,
        }  # fmt: skip
    work.lines = [{"id": LINE, "phoneNumber": OURS, "name": "Office"}]
    return work


def settings(folder: str, api: str) -> dict[str, str]:
    return {
        "DATA_DIR": folder, "QUO_API_KEY": KEY, "QUO_API_URL": api,
        "QUO_NUMBERS": OURS, "MEDIA_HOSTS": "127.0.0.1", "MEDIA_ALLOW_LOOPBACK": "1",
        "LOG_LEVEL": "ERROR",
    }  # fmt: skip


def run(environment: dict[str, str], seconds: float | None = None) -> tuple[float, str]:
    """How long `viewer catch-up` took (or ran until it was killed), and its last words."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [*hosts.VIEWER, "catch-up"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
    return time.monotonic() - begun, (said.strip().splitlines() or [""])[-1]


def counts(folder: str) -> tuple[int, ...]:
    with closing(sqlite_driver.connect(f"{folder}/viewer.db")) as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("conversations", "messages", "media_attachments")
        )


def main() -> None:
    folder = tempfile.mkdtemp(prefix="import")
    with Provider() as provider:
        api = workspace(provider).mount(provider)
        environment = os.environ | settings(folder, api)
        with create_app({"DATA_DIR": folder}).app_context():
            flask_migrate.upgrade()
        first, _ = run(environment, seconds=45)
        reached = counts(folder)
        second, said = run(environment)
        complete = counts(folder)
        third, again = run(environment)
        print(f"killed after {first:.0f} s at {reached[1]:,} texts; went on for {second:.0f} s")
        print(f"conversations, texts, files: {complete}; {said}")
        print(f"once more: {third:.0f} s; {counts(folder)}; {again}")
        assert complete == counts(folder) == (CONVERSATIONS, TEXTS, PHOTOS)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
