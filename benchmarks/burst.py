"""A burst of photos: until all are stored, and until all have their thumbnails.

The media host is 30 ms away, and two workers collect. The peer in the same run is curl, which
downloads the same files, two at a time, and `sync`, which fsyncs each. With `--before`, another
revision of the viewer is measured too, with fewer photos.

    python -m benchmarks.burst [--photos 1000] [--before REVISION]
"""

import argparse
import io
import multiprocessing
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from benchmarks import hosts
from tests.payloads import Message

AWAY = 0.03  # seconds
SIZE = 300_000  # bytes of a photo
DIFFERENT = 20  # pictures; each file has an end of its own
BEFORE = 150  # photos, for another revision


def pictures() -> list[bytes]:
    found = []
    for seed in range(DIFFERENT):
        rng, quality = random.Random(seed), 90
        noise = Image.frombytes("L", (160, 120), rng.randbytes(160 * 120)).resize((1280, 960))
        grain = Image.effect_noise((1280, 960), 40)
        picture = Image.merge("RGB", [noise, Image.blend(noise, grain, 0.2), grain])
        while True:
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=quality)
            if out.tell() <= SIZE:
                break
            quality -= 4
        found.append(out.getvalue())
    return found


def serve(port: Connection) -> None:
    contents = pictures()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(AWAY)
            number = int(self.path.removeprefix("/"))
            content = contents[number % DIFFERENT] + b"%08d" % number
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def media_host() -> Iterator[str]:
    """Its address. A process of its own, so that its Python waits for nobody's."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def by_curl(url: str, photos: int) -> float:
    """Seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config")
        config.write_text(
            "".join(f'url = "{url}/{n}"\noutput = "{folder}/{n}.jpg"\n' for n in range(photos))
        )
        begun = time.monotonic()
        curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", "2"]
        subprocess.run([*curl, "--config", config], check=True)
        subprocess.run(["sync", *(f"{folder}/{n}.jpg" for n in range(photos))], check=True)
        return time.monotonic() - begun


def by_viewer(checkout: Path, url: str, photos: int) -> tuple[float, float, float]:
    """Seconds until stored, seconds until all have thumbnails, CPU seconds for a photo."""
    messages = [
        Message(number=n, media=[f"{url}/{n}"], sender=f"+1617555{100 + n % 50:04d}",
                conversation=f"CNbench{n % 50}")
        for n in range(photos)
    ]  # fmt: skip
    with hosts.running(checkout) as host:
        time.sleep(2)  # all parts are up
        cpu, begun = host.cpu(), time.monotonic()
        hosts.deliver(host.base, messages)
        host.wait_for("media_attachments", "state = 'stored'", photos)
        stored = time.monotonic() - begun
        host.wait_for("media_attachments", "copy_state = 'made'", photos)
        return stored, time.monotonic() - begun, (host.cpu() - cpu) / photos


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--before", help="a revision to measure beside this one")
    words = parser.parse_args()
    with media_host() as url:
        _report("now", hosts.CHECKOUT, url, words.photos)
        if words.before:
            with hosts.commit(words.before) as checkout:
                _report(f"at {words.before}", checkout, url, min(words.photos, BEFORE))


def _report(name: str, checkout: Path, url: str, photos: int) -> None:
    peer = by_curl(url, photos)
    stored, seen, cpu = by_viewer(checkout, url, photos)
    print(
        f"{photos:,} photos, {name}: stored in {stored:.1f} s, {stored / peer:.1f} times curl and"
        f" fsync ({peer:.1f} s); with thumbnails {seen:.1f} s, {seen / peer:.1f} times;"
        f" {cpu * 1000:.0f} ms CPU a photo",
        flush=True,
    )


if __name__ == "__main__":
    main()
