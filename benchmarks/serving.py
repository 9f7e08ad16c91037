"""How quickly nginx serves originals that the viewer admits: from the folder, and of a bucket.

Our nginx site (without TLS, which would hide the rest) stands before two `viewer web` of two
workers each: one has its files in its folder, the other in a bucket of SeaweedFS, whose pieces
nginx has already. Beside them the same nginx serves the same files without asking anybody. Each
round asks all three; a ratio is the median of the rounds' own.

    python -m benchmarks.serving [--seconds 2] [--rounds 5]
"""

import argparse
import multiprocessing
import os
import re
import shutil
import statistics
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from benchmarks import hosts
from benchmarks.file_store import Stored, fill, settings, viewer_web
from benchmarks.files import Rate, ask, log_in
from tests.support import object_stores, staff, stored_files
from tests.support.servers import free_port
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import MediaAttachment

SIZES = {"200 kB": (200_000, 60, 8), "5 MB": (5_000_000, 4, 4)}  # bytes, files, connections
PLAIN, FOLDER, BUCKET = "nginx alone", "from the folder", "of the bucket"
AROUND = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type image/jpeg; keepalive_requests 1000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/site.conf;
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sizes = [size for size, files, _ in SIZES.values() for _ in range(files)]
        files = fill(folder, sizes)
        staff.hire(os.environ | settings(folder))
        server = stack.enter_context(object_stores.running_seaweed())
        distant = in_bucket(folder, server)
        ports: dict[str, tuple[int, tuple[int, ...]]] = {}
        for name, home, words in (
            (FOLDER, folder, {"X_ACCEL_PREFIX": "/stored"}),
            (BUCKET, distant, {"X_ACCEL_S3_PREFIX": "/.object", **object_stores.SETTINGS}),
        ):
            behind, web = stack.enter_context(
                viewer_web(home, hosts.CHECKOUT, PROXY_HOPS="1", **words)
            )
            front, nginx = stack.enter_context(site_before(behind, home, server.port))
            ports[name] = front, (web, nginx)
        ports[PLAIN] = ports[FOLDER][0], ports[FOLDER][1][1:]
        cookies = {name: log_in(ports[name][0]) for name in (FOLDER, BUCKET)}
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(8))
        for title, (_, count, clients) in SIZES.items():
            some, files = files[:count], files[count:]
            rates: dict[str, list[Rate]] = {PLAIN: [], FOLDER: [], BUCKET: []}
            for turn in range(asked.rounds + 1):  # the first warms up, and lets nginx fetch
                for name, found in rates.items():
                    paths = [path_of(one, name) for one in some]
                    cookie = cookies.get(name, "")
                    rate = ask(pool, ports[name], paths, cookie, asked.seconds, clients)
                    if turn:
                        found.append(rate)
            report(title, clients, rates)
    return 0


def path_of(file: Stored, name: str) -> str:
    return f"/plain/{file.original}" if name == PLAIN else f"/media/{file.id}"


def report(title: str, clients: int, rates: dict[str, list[Rate]]) -> None:
    print(f"originals of {title}, {clients} connections")
    for name, found in rates.items():
        rate = statistics.median(one.requests for one in found)
        cpu = statistics.median(one.cpu for one in found)
        ratios = [
            one.requests / peer.requests for one, peer in zip(found, rates[PLAIN], strict=True)
        ]
        part = f"{statistics.median(ratios):.2f} of {PLAIN}"
        span = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:16} {rate:8,.0f} /s {cpu:6.2f} ms CPU each; {part} {span}")


def in_bucket(folder: Path, server: object_stores.ObjectStore) -> Path:
    """A viewer with the same rows, whose files are in a bucket alone."""
    own = folder / "distant"
    (own / "media").mkdir(parents=True)
    shutil.copy(folder / "viewer.db", own / "viewer.db")
    shutil.copy(folder / "media" / ".viewer-store", own / "media")
    with create_app({**settings(own), **object_stores.SETTINGS}).app_context():
        store = stored_files.bucket(server.address(server.new_bucket(), str(uuid.uuid4())))
        for row in db.session.scalars(sa.select(MediaAttachment)):
            content = (folder / "media" / row.file_path).read_bytes()
            stored_files.place(content, row.file_path, holdings.spool(), holdings.store(store.id))
            row.storage = store.id
        db.session.commit()
        db.engine.dispose()
    return own


@contextmanager
def site_before(behind: int, folder: Path, s3: int) -> Iterator[tuple[int, int]]:
    """Our nginx site before the viewer of this port: its port and process."""
    room, port = folder / "nginx", free_port()
    room.mkdir()
    plain = f"alias {folder}/media/; sendfile on;"
    site = (hosts.CHECKOUT / "deploy" / "nginx" / "viewer.conf").read_text()
    for pattern, ours in (
        (r"server \{\s+listen 80;.*?\n\}\n", ""),
        (r"listen 443 ssl http2;", f"listen 127.0.0.1:{port};"),
        (r"\n *(listen \[::\]:443|ssl_)[^\n]*", ""),
        (r"server 127\.0\.0\.1:8000", f"server 127.0.0.1:{behind}"),
        (r"/srv/viewer/media", str(folder / "media")),
        (r"/var/cache", str(room)),
        (r"https://\$object_server", "http://$object_server"),
        (r"s3\.eu-central-1\.amazonaws\.com;", f"127.0.0.1:{s3};"),
        (
            r"(\n    location / \{)",
            rf"\n    location /plain/ {{ {plain} }}\1",
        ),
    ):
        site, count = re.subn(pattern, ours, site, flags=re.DOTALL)
        assert count, pattern
    (room / "site.conf").write_text(site)
    user = "user root;" if os.getuid() == 0 else ""
    (room / "nginx.conf").write_text(AROUND.format(folder=room, user=user))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with hosts.serving((program, "-c", str(room / "nginx.conf"), "-p", str(room)), port) as pid:
        yield port, pid


if __name__ == "__main__":
    sys.exit(main())
