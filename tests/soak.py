"""Everything goes wrong for a while; then nothing may be lost and nothing doubled.

    python -m tests.soak --seconds 600 --events 500 --database postgresql

A whole `viewer up` receives events with media while any of its processes is killed every 0.5 to 3
seconds, Redis is flushed, and three answers in ten of the media host are faults. Then the faults
stop, and the bytes served must be the bytes sent, as sets. Exits with 1 if they are not.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import redis
import requests
import sqlalchemy as sa
from PIL import Image

from tests.payloads import Message, signed
from tests.support import servers, staff

STANDARD = "whsec_" + base64.b64encode(b"soak-standard-key-24-byt").decode()
LEGACY = base64.b64encode(b"soak-legacy-key-soak-legacy-key!").decode()
FAULTS = ("500", "503", "404", "cut", "empty", "page", "reset", "stall", "checksum")


class Host:
    """A media host that answers three times in ten with a fault, while `faulty`."""

    def __init__(self, chance: random.Random) -> None:
        self.files: dict[str, bytes] = {}
        self.faulty = True
        self.faults: Counter[str] = Counter()
        self.chance = chance
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        content = self.files[request.path]
        fault = ""
        if self.faulty and self.chance.random() < 0.3:
            fault = self.chance.choice(FAULTS)
            self.faults[fault] += 1
        status = int(fault) if fault.isdigit() else 200
        body = b"<!doctype html><title>Sign in</title>" if fault == "page" else content
        body = b"" if fault == "empty" or status != 200 else body
        request.close_connection = True
        if fault == "reset":
            return
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        if fault == "503":
            request.send_header("Retry-After", "1")
        if fault == "checksum":
            wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()  # noqa: S324
            request.send_header("Content-MD5", wrong)
        request.end_headers()
        with contextlib.suppress(ConnectionError):
            if fault in ("cut", "stall"):
                request.wfile.write(body[: len(body) // 2])
                request.wfile.flush()
                time.sleep(6 if fault == "stall" else 0)
            else:
                request.wfile.write(body)


class Viewer:
    """`viewer up`, started again whenever it was killed."""

    def __init__(self, folder: Path, database_url: str, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.log = (folder / "log").open("ab")
        self.command = [sys.executable, "-m", "viewer", "up", "--port", str(port)]
        self.environment = os.environ | {
            "DATA_DIR": str(folder),
            "DATABASE_URL": database_url,
            "QUO_WEBHOOK_SECRETS": f"{STANDARD},{LEGACY}",
            "QUO_NUMBERS": "+16175550100",
            "MEDIA_HOSTS": "127.0.0.1",
            "MEDIA_ALLOW_LOOPBACK": "1",
            "TRANSFER_SECONDS": "4",
            "LOG_LEVEL": "WARNING",
        }
        self.socket = folder / "valkey.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.keep_up()

    def keep_up(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=self.log, stderr=self.log
            )

    def processes(self) -> list[int]:
        """Itself and everything below it."""
        assert self.process is not None
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
        found, open_ = [], [self.process.pid]
        while open_:
            pid = open_.pop()
            found.append(pid)
            open_ += parents.get(pid, [])
        return found

    def kill_one(self, chance: random.Random) -> None:
        self.keep_up()
        itself, *parts = self.processes()
        # It must come up to be worth killing; and it is one of many, not every second victim.
        if len(parts) > 4:
            victim = itself if chance.random() < 0.1 else chance.choice(parts)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def flush_redis(self) -> None:
        with contextlib.suppress(redis.RedisError):
            redis.from_url(f"unix://{self.socket}", socket_timeout=1).flushall()

    def run(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "viewer", *words],
            env=self.environment, stdout=self.log, stderr=self.log, check=False, timeout=60,
        )  # fmt: skip

    def stop(self) -> None:
        self.keep_up()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def photo(number: int, chance: random.Random) -> bytes:
    out = BytesIO()
    side = chance.randint(60, 500)
    noise = Image.frombytes("RGB", (side, side), chance.randbytes(side * side * 3))
    noise.save(out, "JPEG", quality=85, comment=f"soak {number}".encode())
    return out.getvalue()


def messages(host: Host, events: int, chance: random.Random) -> list[Message]:
    made = []
    for number in range(events):
        media = [
            host.add(f"{number}-{position}", photo(number * 10 + position, chance))
            for position in range(chance.choice((1, 1, 1, 2, 3)))
        ]
        made.append(
            Message(
                number=number,
                text=f"soak {number}",
                media=media,
                sender=f"+1617555{chance.randrange(100, 200):04d}",
                conversation=None,
            )
        )
    return made


def deliver(viewer: Viewer, message: Message, scheme: str) -> None:
    """As the provider does: the same delivery again until it is answered 2xx."""
    secret = STANDARD if scheme == "standard" else LEGACY
    payload = message.payload("d3" if scheme == "standard" else "d1")
    while True:
        body, headers = signed(payload, scheme, secret, delivery_id=f"msg_soak{message.number}")
        with contextlib.suppress(requests.RequestException):
            if requests.post(
                f"{viewer.base}/webhooks/quo", data=body, headers=headers, timeout=10
            ).ok:
                return
        time.sleep(0.3)


def torment(viewer: Viewer, seconds: float, chance: random.Random) -> Counter[str]:
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 3))
        viewer.kill_one(chance)
        done["kills"] += 1
        if chance.random() < 0.3:
            viewer.flush_redis()
            done["flushes"] += 1
    return done


def settled(engine: sa.Engine, media: int) -> bool:
    with contextlib.suppress(sa.exc.OperationalError), engine.connect() as connection:
        return media == connection.scalar(
            sa.text("SELECT count(*) FROM media_attachments WHERE state = 'stored'")
        )
    return False


def verdict(
    viewer: Viewer, engine: sa.Engine, host: Host, folder: Path, made: list[Message]
) -> list[str]:
    """What is wrong; nothing, if all is well."""
    wrong = []
    sent = Counter(hashlib.sha256(content).hexdigest() for content in host.files.values())
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT id, state, sha256, file_path FROM media_attachments")
        ).all()
        texts = connection.scalar(sa.text("SELECT count(*) FROM messages"))
    served: Counter[str] = Counter()
    staff.hire(viewer.environment)
    browser = staff.enter(viewer.base)
    for row in rows:
        answer = browser.get(f"{viewer.base}/media/{uuid.UUID(str(row.id))}", timeout=30)
        served[hashlib.sha256(answer.content).hexdigest() if answer.ok else str(row.state)] += 1
    if served != sent:
        wrong.append(f"lost {sum((sent - served).values())}, strange {served - sent}")
    if len(rows) != len(host.files):
        wrong.append(f"{len(rows)} rows for {len(host.files)} files")
    if texts != len(made):
        wrong.append(f"{texts} messages for {len(made)}")
    originals = [
        path
        for path in (folder / "media").rglob("messages/*")
        if not path.stem.endswith(("_thumb", "_preview", "_playable"))
    ]
    if len(originals) != len(host.files):
        wrong.append(f"{len(originals)} originals on disk for {len(host.files)} files")
    return wrong


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, sa.Engine]]:
    if kind == "sqlite":
        from viewer.extensions import sqlite

        url = f"sqlite:///{folder / 'viewer.db'}"
        yield url, sa.create_engine(url, module=sqlite)  # the same library: locks are per library
        return
    with servers.running_postgres() as server:
        url = server.url(server.create())
        yield url, sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def soak(seconds: float, events: int, kind: str, seed: int, port: int) -> int:
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    host = Host(random.Random(seed + 1))
    made = messages(host, events, chance)
    with database(kind, folder) as (url, engine):
        viewer = Viewer(folder, url, port)
        begun = time.monotonic()

        def provider() -> None:
            clock = random.Random(seed + 2)
            threads = []
            for number, message in enumerate(made):
                time.sleep(max(0.0, begun + seconds * 0.9 * number / events - time.monotonic()))
                # One in five comes over both generations of webhooks, one in ten twice at once.
                schemes = ["standard"]
                schemes += ["legacy"] if clock.random() < 0.2 else []
                schemes += ["standard"] if clock.random() < 0.1 else []
                for scheme in schemes:
                    thread = threading.Thread(target=deliver, args=(viewer, message, scheme))
                    thread.start()
                    threads.append(thread)
            for thread in threads:
                thread.join()

        delivering = threading.Thread(target=provider)
        delivering.start()
        done = torment(viewer, seconds, chance)
        host.faulty = False
        while delivering.is_alive():
            viewer.keep_up()
            delivering.join(0.5)
        calm = time.monotonic()
        while not settled(engine, len(host.files)) and time.monotonic() - calm < 180:
            viewer.keep_up()
            viewer.run("retry", "--all")  # an operator's button: else the long pauses decide
            time.sleep(3)
        settling = time.monotonic() - calm
        servers.wait_until(lambda: _answers(viewer))
        wrong = verdict(viewer, engine, host, folder, made)
        viewer.stop()
        engine.dispose()
    parts = list((folder / "media" / ".incoming").glob("*"))
    wrong += [f"{len(parts)} parts left"] if parts else []
    print(
        json.dumps(
            {
                "database": kind, "seconds": seconds, "events": events, "files": len(host.files),
                **done, "faults": sum(host.faults.values()), "settled_after": round(settling, 1),
                "wrong": wrong,
            }
        ),
        flush=True,
    )  # fmt: skip
    if wrong:
        print(f"kept for looking at: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def _answers(viewer: Viewer) -> bool:
    try:
        return requests.get(f"{viewer.base}/healthz", timeout=2).status_code in (200, 503)
    except requests.RequestException:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--port", type=int, default=8094)
    given: Any = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    sys.exit(
        max(
            soak(given.seconds, given.events, kind, given.seed, given.port)
            for kind in given.database or ["sqlite", "postgresql"]
        )
    )


if __name__ == "__main__":
    main()
