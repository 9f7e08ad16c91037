"""What the copies of a photo cost, the decoder's process included: cold, warm, and by its peers.

Cold is a fresh interpreter for each original, warm a child forked from a worker's zygote. The peer
makes two of our copies, preview and thumbnail, with two calls of `vipsthumbnail`: on one thread and
at the low priority of our children. The placeholder, every pixel of a HEIC as a JPEG, and the
conversion of Display P3 are ours alone. Pillow, in a process that runs already, makes the same two
and has no confinement. All take turns, so that whatever else the machine does hits all of them.

    python -m benchmarks.copies [--rounds 6]
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pillow_heif
import psutil
from PIL import Image, ImageOps

from benchmarks import figures
from tests.support import samples
from tests.support.decoders import zygotes
from viewer import derive
from viewer.demo import drawing

FAST = {"preset": "ultrafast"}  # of the encoder, which is not what is measured


@dataclass
class Cost:
    """Milliseconds of one way, of each round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.mean_cpu:.0f} ms CPU, {statistics.median(self.wall):.0f} ms"

    @property
    def mean_cpu(self) -> float:
        return statistics.mean(self.cpu)

    def compared(self, peer: "Cost") -> str:
        paired = [ours / theirs for ours, theirs in zip(self.wall, peer.wall, strict=True)]
        return f"{self.mean_cpu / peer.mean_cpu:.2f} (CPU), {statistics.median(paired):.2f} (time)"


KINDS = {
    "copies.jpeg": "12 MP JPEG",
    "copies.p3": "12 MP JPEG in Display P3",
    "copies.heic": "12 MP HEIC",
    "copies.mms": "MMS, 2 MP JPEG",
    "copies.png": "PNG of a phone's screen",
}


def draw_originals(folder: Path) -> dict[str, Path]:
    """Photos as phones send them, drawn."""
    paths = {key: folder / key for key in KINDS}
    wall = drawing.crack_photo(7, size=(4032, 3024))
    wall.save(paths["copies.jpeg"], "JPEG", quality=92)
    wall.save(paths["copies.p3"], "JPEG", quality=92, icc_profile=samples.p3_profile())
    wall.save(paths["copies.heic"], "HEIF", quality=60, enc_params=FAST)
    mms = drawing.crack_photo(8, size=(1632, 1224))
    mms.save(paths["copies.mms"], "JPEG", quality=85)
    drawing.crack_photo(9, size=(1170, 2532)).save(paths["copies.png"], "PNG")
    return paths


def derive_copies(original: Path, into: Path) -> None:
    with original.open("rb") as file:
        kind = derive.sniff(file.read(derive.HEAD_SIZE))
    made = derive.derive(original, kind.mime_type, into)
    assert made.thumbnail
    assert made.preview


def call_libvips(original: Path, into: Path) -> None:
    for side, name, options in ((2048, "preview", "Q=82,strip"), (480, "thumbnail", "Q=80,strip")):
        made = into / f"{name}.jpg"
        saved_as = f"{made}[{options}]"
        command = ["vipsthumbnail", original, "--size", f"{side}x{side}>", "-o", saved_as]
        subprocess.run(
            ["nice", "-n", "10", *map(str, command)],
            check=True,
            env={"PATH": os.environ["PATH"], "VIPS_CONCURRENCY": "1"},
            stderr=subprocess.DEVNULL,
        )
        assert made.stat().st_size


def call_pillow(original: Path, into: Path) -> None:
    with Image.open(original) as picture:
        shown = ImageOps.exif_transpose(picture.convert("RGB"))
    for side, name, quality in ((2048, "preview", 82), (480, "thumbnail", 80)):
        shown.thumbnail((side, side))
        shown.save(into / f"{name}.jpg", quality=quality)


def add_round(cost: Cost, zygote: psutil.Process, work: Callable[[], None]) -> None:
    before, begun = spent(zygote), time.perf_counter()
    work()
    cost.wall.append((time.perf_counter() - begun) * 1000)
    cost.cpu.append((spent(zygote) - before) * 1000)


def spent(zygote: psutil.Process) -> float:
    """Seconds of CPU so far: ours, of those we waited for, and of the zygote and its children.

    The last are known to 10 ms only: a mean of many is better than that.
    """
    times = zygote.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def compare(report: figures.Report, key: str, original: Path, into: Path, rounds: int) -> None:
    cold, warm, libvips, pillow = Cost(), Cost(), Cost(), Cost()
    with derive.warm():
        decoder = derive._decoder
        derive_copies(original, into)  # the zygote starts
        [zygote] = zygotes()
        for _ in range(rounds):
            add_round(warm, zygote, lambda: derive_copies(original, into))
            derive._decoder = None  # as in a process that did not ask for it
            add_round(cold, zygote, lambda: derive_copies(original, into))
            derive._decoder = decoder
            add_round(libvips, zygote, lambda: call_libvips(original, into))
            add_round(pillow, zygote, lambda: call_pillow(original, into))
    if key != "copies.p3":  # libvips leaves its colours as they are: not the same work
        cpus = f"{warm.mean_cpu:.0f} of {libvips.mean_cpu:.0f} ms"
        report.add(
            key, warm.mean_cpu / libvips.mean_cpu, detail=f"{cpus}; Pillow {pillow.mean_cpu:.0f} ms"
        )
    report.say(
        f"{KINDS[key]}, {original.stat().st_size / 1e6:.1f} MB: warm {warm}; cold {cold}; "
        f"two libvips calls {libvips}; Pillow {pillow}"
    )
    report.say(f"  of libvips: warm {warm.compared(libvips)}; cold {cold.compared(libvips)}")


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    pillow_heif.register_heif_opener()
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "copies"
        into.mkdir()
        for key, original in draw_originals(Path(folder)).items():
            compare(report, key, original, into, asked.rounds)


if __name__ == "__main__":
    figures.run(__doc__, measure, rounds=(6, 1))
