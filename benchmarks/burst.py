"""A burst of photos: until all are stored, and until all have their thumbnails.

The media host is 30 ms away, and two workers collect. The peer in the same run is curl, which
downloads the same files, two at a time, and `sync`, which fsyncs each. With `--before`, another
revision of the viewer is measured too, with fewer photos (`--fewer`).

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
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from benchmarks import figures, hosts
from tests.payloads import Message

AWAY = 0.03  # seconds
SIZE = 300_000  # bytes of a photo
DIFFERENT = 20  # pictures; each file has an end of its own
EVERY = 0.2  # seconds between two looks at how many there are
GIVE_UP = 900.0  # seconds


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


def serve(port: Connection, away: float) -> None:
    contents = pictures()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(away)
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
def media_host(away: float = AWAY) -> Iterator[str]:
    """Its address. A process of its own, so that its Python waits for nobody's."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, away), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def by_curl(url: str, photos: int) -> tuple[float, figures.Curve]:
    """Seconds, and how many had been downloaded at what time."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config")
        config.write_text(
            "".join(f'url = "{url}/{n}"\noutput = "{folder}/{n}.jpg"\n' for n in range(photos))
        )
        progress, begun = [(0.0, 0.0)], time.monotonic()
        curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", "2"]
        with subprocess.Popen(
            [*curl, "--config", str(config)], stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                time.sleep(EVERY)
                done = sum(1 for _ in Path(folder).iterdir()) - 1
                progress.append((round(time.monotonic() - begun, 2), float(done)))
        assert process.returncode == 0
        subprocess.run(["sync", *(f"{folder}/{n}.jpg" for n in range(photos))], check=True)
        took = time.monotonic() - begun
        return took, [*progress, (took, float(photos))]


@dataclass(frozen=True)
class Burst:
    stored: float  # seconds
    seen: float  # seconds, until all have thumbnails
    cpu: float  # seconds, for a photo
    storing: figures.Curve
    seeing: figures.Curve


def by_viewer(checkout: Path, url: str, photos: int) -> Burst:
    messages = [
        Message(number=n, media=[f"{url}/{n}"], sender=f"+1617555{100 + n % 50:04d}",
                conversation=f"CNbench{n % 50}")
        for n in range(photos)
    ]  # fmt: skip
    with hosts.running(checkout) as host:
        time.sleep(2)  # all parts are up
        cpu, begun = host.cpu(), time.monotonic()
        hosts.deliver(host.base, messages)
        storing, seeing = [(0.0, 0.0)], [(0.0, 0.0)]
        while seeing[-1][1] < photos:
            for curve, condition in (
                (storing, "state = 'stored'"),
                (seeing, "copy_state = 'made'"),
            ):
                if curve[-1][1] < photos:
                    count = host.count("media_attachments", condition)
                    curve.append((round(time.monotonic() - begun, 2), float(count)))
            if time.monotonic() - begun > GIVE_UP:
                raise TimeoutError(f"{seeing[-1][1]:.0f} of {photos} photos were seen")
            time.sleep(EVERY)
        cpu = (host.cpu() - cpu) / photos
        return Burst(storing[-1][0], seeing[-1][0], cpu, storing, seeing)


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with media_host() as url, hosts.commit(asked.before) as before:
        _report(report, hosts.CHECKOUT, url, asked.photos)
        if before:
            photos = min(asked.photos, asked.fewer)
            _report(report, before, url, photos, f", at {asked.before}")


def _report(report: figures.Report, checkout: Path, url: str, photos: int, who: str = "") -> None:
    peer, downloading = by_curl(url, photos)
    burst = by_viewer(checkout, url, photos)
    detail = f", {photos} photos" if who else ""
    for key, seconds in (("burst.stored", burst.stored), ("burst.thumbnails", burst.seen)):
        report.add(
            key, seconds / peer, detail=f"{seconds:.1f} of {peer:.1f} s{detail}", before=bool(who)
        )
    report.add("burst.cpu", burst.cpu * 1000, "ms", before=bool(who))
    if not who:
        report.curves |= {
            "burst.curl": downloading, "burst.stored": burst.storing,
            "burst.thumbnails": burst.seeing,
        }  # fmt: skip
    report.say(
        f"{photos:,} photos{who}: stored in {burst.stored:.1f} s, {burst.stored / peer:.1f} times"
        f" curl and fsync ({peer:.1f} s); with thumbnails {burst.seen:.1f} s,"
        f" {burst.seen / peer:.1f} times; {burst.cpu * 1000:.0f} ms CPU a photo"
    )


if __name__ == "__main__":
    figures.run(__doc__, measure, has_before=True, photos=(1000, 6), fewer=(150, 6))
