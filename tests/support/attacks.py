"""Clients that hold what they can of a web server: bounded in number, on this host only.

    python -m tests.support.attacks PORT FILE_PATH HEADS UNREAD FLOODS

says "ready" and goes on until its standard input ends.
"""

import base64
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from tests.support import stored_files
from viewer import holdings
from viewer.extensions import db, now
from viewer.models import User
from viewer.office import accounts, sharing

LARGE = 5_000_000  # bytes of the file that nobody reads
FORGED = 1024 * 1024  # bytes of a forged delivery


def share_large_file() -> str:
    """The path of a large file of a share link, in this application's database and store."""
    owner = accounts.add("olivia@crack.example", User.Role.OWNER, "Olivia")
    media = stored_files.keep()
    media.preview_path = f"{media.file_stem}_preview.jpg"
    stored_files.place(os.urandom(LARGE), media.preview_path, holdings.spool(), holdings.own())
    _, token = sharing.create("Cracks", [media], now() + timedelta(days=1), owner)
    db.session.commit()
    return f"/s/{token}/1/picture"


@contextlib.contextmanager
def attacked(
    port: int, path: str, *, heads: int = 0, unread: int = 0, floods: int = 0
) -> Iterator[None]:
    """While so many clients send a request byte by byte, read no download, or flood the webhook."""
    words = [str(word) for word in (port, path, heads, unread, floods)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.attacks", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as attackers:  # fmt: skip
        assert attackers.stdout is not None
        assert attackers.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            attackers.communicate()  # its standard input ends


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def trickle(port: int, stop: threading.Event, ready: Callable[[], object]) -> None:
    """Send a request so that it never ends, again and again."""
    with contextlib.suppress(OSError), connect(port) as client:
        ready()
        while not stop.wait(1.0):
            client.sendall(b"G")


def leave_unread(path: str, port: int, stop: threading.Event, ready: Callable[[], object]) -> None:
    """Ask for a file and read nothing of it."""
    with connect(port) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        ready()
        stop.wait()


def flood(port: int, stop: threading.Event, ready: Callable[[], object]) -> None:
    """Send deliveries of 1 MiB with a forged signature, as quickly as they are answered."""
    signature = f"hmac;1;{time.time() * 1000:.0f};{base64.b64encode(bytes(32)).decode()}"
    body = b'{"id": "EVforged", "list": [' + b"1, " * (FORGED // 3 - 20) + b"1]}"
    head = (
        f"POST /webhooks/quo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"openphone-signature: {signature}\r\n\r\n"
    )
    while not stop.is_set():
        with contextlib.suppress(OSError), connect(port) as client:
            client.sendall(head.encode() + body)
            client.recv(1000)
        ready()


def main(port: int, path: str, heads: int, unread: int, floods: int) -> None:
    stop = threading.Event()
    begun = threading.Semaphore(0)
    kinds = [
        *[trickle] * heads,
        *[lambda *words: leave_unread(path, *words)] * unread,
        *[flood] * floods,
    ]

    def attack(kind: Callable[..., None]) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                kind(port, stop, begun.release)

    threads = [threading.Thread(target=attack, args=[kind]) for kind in kinds]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire(timeout=5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *(int(word) for word in sys.argv[3:]))
