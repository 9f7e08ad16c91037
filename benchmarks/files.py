"""How quickly a file is served: by the viewer alone, behind nginx, and by nginx alone.

A small store is filled, and `viewer web` started on it twice: as it is, and behind nginx with
X-Accel. Clients of the benchmark's own, in processes of their own, ask for thumbnails over
connections that stay open, and then for an original of 5 MB. nginx alone serves the same files of
the same folder, asked by the same clients.

    python -m benchmarks.files [--seconds 4] [--rounds 3] [--beside ANOTHER_CHECKOUT]
"""

import argparse
import multiprocessing
import multiprocessing.pool
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import flask_migrate
import requests

from tests.support import staff
from tests.support.pictures import picture
from tests.support.servers import free_port, wait_until
from tests.support.stored_files import place
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.upkeep import identity

CLIENTS = 8
THUMBNAILS = 200
LARGE = 5_000_000  # bytes
ROOT = Path(__file__).parent.parent
NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type image/jpeg; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream viewer {{ server 127.0.0.1:{behind}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://viewer; proxy_set_header Host $http_host;
                  proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /stored/ {{ internal; alias {media}/; etag off; }}
    location /plain/ {{ alias {media}/; }}
  }}
}}
"""


@dataclass(frozen=True)
class Files:
    """What is in the store: paths of the viewer, and of nginx alone."""

    thumbnails: list[str]
    plain_thumbnails: list[str]
    large: str
    plain_large: str


def fill(folder: Path) -> Files:
    """A store with thumbnails of 27 kB, as photos have them, and one original of 5 MB."""
    app = create_app(settings(folder))
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        moment = datetime.now(UTC)
        talk = Conversation(id=uuid.uuid4(), participants="+16175550123", created_at=moment)
        message = Message(
            id=uuid.uuid4(), conversation_id=talk.id, provider_id="ACfiles",
            kind=Message.Kind.TEXT, direction=Message.Direction.INCOMING, said={},
        )  # fmt: skip
        db.session.add_all([talk, message])
        thumbnail = picture(480, 360).ljust(27_000, b"\0")
        rows = [
            add(talk, message, n, thumbnail, b"\xff\xd8".ljust(1000)) for n in range(THUMBNAILS)
        ]
        large = add(talk, message, THUMBNAILS, thumbnail, b"\xff\xd8".ljust(LARGE, b"\x01"))
        db.session.commit()
        found = Files(
            [f"/media/{row.id}/thumbnail" for row in rows],
            [f"/plain/{row.thumbnail_path}" for row in rows],
            f"/media/{large.id}",
            f"/plain/{large.file_path}",
        )
        db.session.remove()
        db.engine.dispose()
    return found


def add(
    talk: Conversation, message: Message, number: int, thumbnail: bytes, original: bytes
) -> MediaAttachment:
    stem = f"2026/09/21/617-555-0123/messages/1790000000_photo{number}"
    media = MediaAttachment(
        id=uuid.uuid4(), conversation_id=talk.id, message_id=message.id, position=number,
        file_path=f"{stem}.jpg", file_stem=stem, file_size=len(original), mime_type="image/jpeg",
        sha256=f"{number:064x}", storage=holdings.wanted_id(), verified_at=datetime.now(UTC),
        downloaded_at=datetime.now(UTC), source_key=str(number), media_type="photo", said={},
        state=MediaAttachment.State.STORED, copy_state=MediaAttachment.CopyState.MADE,
        thumbnail_path=f"{stem}_thumb.jpg", width=1600, height=1200,
    )  # fmt: skip
    for key, content in ((f"{stem}.jpg", original), (f"{stem}_thumb.jpg", thumbnail)):
        place(content, key, holdings.spool(), holdings.wanted())
    db.session.add(media)
    return media


def settings(folder: Path, **words: str) -> dict[str, str]:
    return {
        "DATA_DIR": str(folder),
        "QUO_WEBHOOK_SECRETS": "whsec_YmVuY2gtb25seS1rZXktYmVuY2g=",
        "QUO_NUMBERS": "+16175550100",
        "REDIS_URL": "unix:///nowhere",
        "SECRET_KEY": "bench",
        "LOG_LEVEL": "WARNING",
        **words,
    }


# --- Servers -------------------------------------------------------------------------------


@contextmanager
def running(*command: str, **words: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **words)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def viewer_web(folder: Path, checkout: Path, **words: str) -> Iterator[tuple[int, int]]:
    """`viewer web` of this checkout, with two workers as by default: its port and process."""
    port = free_port()
    environment = os.environ | settings(folder, **words) | {"PYTHONPATH": str(checkout)}
    command = (sys.executable, "-m", "viewer", "web", "--port", str(port))
    with running(*command, env=environment, cwd=checkout) as process:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/login"))
        yield port, process.pid


@contextmanager
def nginx_before(behind: int, folder: Path) -> Iterator[tuple[int, int]]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        sys.exit("nginx is not installed")
    place_of, port = folder / "nginx", free_port()
    place_of.mkdir(exist_ok=True)
    (place_of / "nginx.conf").write_text(
        NGINX.format(
            folder=place_of,
            port=port,
            behind=behind,
            media=folder / "media",
            user="user root;" if os.getuid() == 0 else "",
        )
    )
    command = (program, "-c", str(place_of / "nginx.conf"), "-p", str(place_of))
    with running(*command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/login"))
        yield port, process.pid


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def cpu_of(*roots: int) -> float:
    """Seconds of CPU that these processes and their children have taken so far."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                facts = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)], spent[int(entry.name)] = (
                int(facts[1]),
                sum(map(int, facts[11:13])),
            )
    ours = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(spent.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


# --- Clients -------------------------------------------------------------------------------


def ask_for(port: int, cookie: str, paths: list[str], seconds: float) -> tuple[int, int]:
    """Ask for one after the other; how many answers, and bytes in them."""
    count = received = 0
    buffer = bytearray(1 << 18)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            path = paths[count % len(paths)]
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
            )
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1 << 16)
            start, _, rest = head.partition(b"\r\n\r\n")
            assert start.startswith(b"HTTP/1.1 200"), start
            length = int(re.search(rb"(?i)content-length: (\d+)", start)[1])  # type: ignore[index]
            left = length - len(rest)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            count, received = count + 1, received + length
    return count, received


@dataclass(frozen=True)
class Rate:
    requests: float  # a second
    cpu: float  # milliseconds of the servers for each

    def __str__(self) -> str:
        return f"{self.requests:9,.0f} /s {self.cpu:8.2f} ms CPU each"


def measure(
    pool: multiprocessing.pool.Pool,
    server: tuple[int, tuple[int, ...]],
    paths: list[str],
    cookie: str,
    seconds: float,
    clients: int = CLIENTS,
) -> Rate:
    port, processes = server
    before, begun = cpu_of(*processes), time.monotonic()
    asked = [(port, cookie, paths[n:] + paths[:n], seconds) for n in range(clients)]
    done = pool.starmap(ask_for, asked, chunksize=1)
    took = time.monotonic() - begun
    count = sum(answers_ for answers_, _ in done)
    return Rate(count / took, (cpu_of(*processes) - before) * 1000 / count)


def copy_for(checkout: Path, folder: Path, name: str) -> Path:
    """The same files, and a copy of the database at the version that this checkout knows."""
    own = folder / name
    own.mkdir()
    (own / "media").symlink_to(folder / "media")
    shutil.copy(folder / "viewer.db", own / "viewer.db")
    newest = max(path.name for path in (checkout / "migrations" / "versions").glob("*.py"))
    with create_app(settings(own)).app_context():
        flask_migrate.downgrade(revision=newest[:4])
        db.engine.dispose()
    return own


def log_in(port: int) -> str:
    browser = staff.enter(f"http://127.0.0.1:{port}")
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="another checkout to run the same on")
    chosen = parser.parse_args()
    checkouts = {"now": ROOT} | ({"beside": chosen.beside.resolve()} if chosen.beside else {})
    folder = Path(tempfile.mkdtemp(prefix="bench-files"))
    try:
        files = fill(folder)
        staff.hire(os.environ | settings(folder))
        with ExitStack() as stack:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(CLIENTS))
            compare(stack, pool, checkouts, folder, files, chosen.seconds, chosen.rounds)
    finally:
        shutil.rmtree(folder)


def compare(
    stack: ExitStack,
    pool: multiprocessing.pool.Pool,
    checkouts: dict[str, Path],
    folder: Path,
    files: Files,
    seconds: float,
    rounds: int,
) -> None:
    servers: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name, checkout in checkouts.items():
        own = copy_for(checkout, folder, name)
        port, process = stack.enter_context(viewer_web(own, checkout))
        servers[f"{name}: viewer alone"] = port, (process,)
        behind, process = stack.enter_context(viewer_web(own, checkout, X_ACCEL_PREFIX="/stored"))
        front, nginx = stack.enter_context(nginx_before(behind, own))
        servers[f"{name}: behind nginx"] = front, (process, nginx)
    servers["nginx alone"] = front, (nginx,)
    cookies = {name: log_in(servers[f"{name}: viewer alone"][0]) for name in checkouts}
    thumbnails: dict[str, list[Rate]] = {name: [] for name in servers}
    large: dict[str, list[Rate]] = {name: [] for name in servers}
    for turn in range(rounds + 1):  # the first warms up
        for name, server in servers.items():
            is_plain = name == "nginx alone"
            asked = files.plain_thumbnails if is_plain else files.thumbnails
            cookie = cookies.get(name.partition(":")[0], "")
            small_rate = measure(pool, server, asked, cookie, seconds)
            asked = [files.plain_large if is_plain else files.large]
            large_rate = measure(pool, server, asked, cookie, seconds / 2, clients=4)
            if turn:
                thumbnails[name].append(small_rate)
                large[name].append(large_rate)
    print(f"thumbnails of 27 kB, {CLIENTS} connections")
    show(thumbnails)
    print("an original of 5 MB, 4 connections")
    show(large)


def show(rates: dict[str, list[Rate]]) -> None:
    for name, found in rates.items():
        middle = Rate(
            statistics.median(one.requests for one in found),
            statistics.median(one.cpu for one in found),
        )
        print(f"  {name:24} {middle}")


if __name__ == "__main__":
    main()
