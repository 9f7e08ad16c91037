"""What the copies of a photo cost, the decoder's process included: cold, warm, and by libvips.

Cold is a fresh interpreter for each original, warm a child forked from a worker's zygote. The peer
makes two of our copies, preview and thumbnail, with two calls of `vipsthumbnail`: on one thread and
at the low priority of our children. The placeholder, every pixel of a HEIC as a JPEG, and the
conversion of Display P3 are ours alone. The three take turns, so that whatever else the machine
does hits all of them.

    python -m benchmarks.copies [--rounds 15]
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from PIL import Image

from tests.support import samples
from tests.support.decoders import zygotes
from viewer import derive
from viewer.demo import drawing

FAST = {"preset": "ultrafast"}  # of the encoder, which is not what is measured
PEER = shutil.which("vipsthumbnail")


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


def draw_originals(folder: Path) -> dict[str, Path]:
    """Photos as phones send them, drawn."""
    wall = drawing.crack_photo(7, size=(4032, 3024))
    mms = drawing.crack_photo(8, size=(1632, 1224))
    paths = {
        "12 MP JPEG": folder / "wall.jpg",
        "12 MP JPEG in Display P3": folder / "iphone.jpg",
        "12 MP HEIC": folder / "wall.heic",
        "12 MP HEIC in Display P3": folder / "iphone.heic",
        "MMS, 2 MP JPEG": folder / "mms.jpg",
        "PNG of a phone's screen": folder / "screen.png",
        "JPEG of 90 × 60": folder / "tiny.jpg",
    }
    heic, iphone = {"quality": 60, "enc_params": FAST}, {"icc_profile": samples.p3_profile()}
    wall.save(paths["12 MP JPEG"], quality=92)
    wall.save(paths["12 MP JPEG in Display P3"], quality=92, **iphone)
    wall.save(paths["12 MP HEIC"], **heic)
    wall.save(paths["12 MP HEIC in Display P3"], **heic, **iphone)
    mms.save(paths["MMS, 2 MP JPEG"], quality=85)
    drawing.crack_photo(9, size=(1170, 2532)).save(paths["PNG of a phone's screen"])
    mms.resize((90, 60)).save(paths["JPEG of 90 × 60"])
    return paths


def derive_copies(original: Path, into: Path) -> None:
    with original.open("rb") as file:
        kind = derive.sniff(file.read(derive.HEAD_SIZE))
    made = derive.derive(original, kind.mime_type, into)
    assert made.thumbnail
    assert made.preview


def call_peer(original: Path, into: Path) -> None:
    assert PEER
    for side, name, options in ((2048, "preview", "Q=82,strip"), (480, "thumbnail", "Q=80,strip")):
        made = into / f"{name}.jpg"
        command = [PEER, original, "--size", f"{side}x{side}>", "-o", f"{made}[{options}]"]
        subprocess.run(
            ["nice", "-n", "10", *command],
            check=True,
            env={"VIPS_CONCURRENCY": "1"},
            stderr=subprocess.DEVNULL,
        )
        assert made.stat().st_size


def measure(cost: Cost, zygote: psutil.Process, work: Callable[[], None]) -> None:
    before, begun = spent(zygote), time.perf_counter()
    work()
    cost.wall.append((time.perf_counter() - begun) * 1000)
    cost.cpu.append((spent(zygote) - before) * 1000)


def spent(zygote: psutil.Process) -> float:
    """Seconds of CPU so far: ours, of those we waited for, and of the zygote and its children.

    The last are known to 10 ms only: a mean of many is better than that.
    """
    times = zygote.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def compare(name: str, original: Path, into: Path, rounds: int) -> None:
    cold, warm, peer = Cost(), Cost(), Cost()
    with derive.warm():
        decoder = derive._decoder
        derive_copies(original, into)  # the zygote starts
        [zygote] = zygotes()
        for _ in range(rounds):
            measure(warm, zygote, lambda: derive_copies(original, into))
            derive._decoder = None  # as in a process that did not ask for it
            measure(cold, zygote, lambda: derive_copies(original, into))
            derive._decoder = decoder
            measure(peer, zygote, lambda: call_peer(original, into))
    print(
        f"{name}, {original.stat().st_size / 1e6:.1f} MB: warm {warm}; cold {cold}; "
        f"two libvips calls {peer}\n"
        f"  of libvips: warm {warm.compared(peer)}; cold {cold.compared(peer)}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    words = parser.parse_args()
    if PEER is None:
        print("vipsthumbnail is missing: apt-get install libvips-tools", file=sys.stderr)
        return 1
    said = subprocess.run([PEER, "--version"], capture_output=True, text=True, check=True)
    print(f"{said.stdout.strip()}, Pillow {Image.__version__}; {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "copies"
        into.mkdir()
        for name, original in draw_originals(Path(folder)).items():
            compare(name, original, into, words.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
