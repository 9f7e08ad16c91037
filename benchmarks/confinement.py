"""What it costs that a decoder gives up its rights: the same copies with and without.

Both are made by children of a worker's zygote, in turn, the first of each pair alternating. The
ratio of CPU is that of all rounds together, the ratio of time the median of the pairs.

    python -m benchmarks.confinement [--rounds 20]
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import pillow_heif

from benchmarks import figures
from benchmarks.copies import FAST, Cost, add_round
from tests.support import samples
from tests.support.decoders import zygotes
from viewer import derive
from viewer.demo import drawing
from viewer.derive.decoder import Decoder

SMALL = "small JPEG"
WITHOUT = "from viewer.derive import confinement\nconfinement.drop_rights = lambda: None\n"


def draw_originals(folder: Path) -> dict[str, Path]:
    """What phones send, from the smallest, of which most is the process itself."""
    paths = {
        name: folder / name.replace(" ", "-")
        for name in (SMALL, "12 MP JPEG", "12 MP HEIC", "WAV of a minute", "HEVC video")
    }
    small, jpeg, heic, sound, film = paths.values()
    drawing.crack_photo(8, size=(320, 240)).save(small, "JPEG")
    wall = drawing.crack_photo(7, size=(4032, 3024))
    wall.save(jpeg, "JPEG", quality=92)
    wall.save(heic, "HEIF", quality=60, enc_params=FAST)
    samples.sound(sound, "pcm_s16le", "wav", seconds=60)
    samples.film(film, "libx265", "mov", size=(640, 360), frames=30, voice="aac")
    return paths


def compare(report: figures.Report, name: str, original: Path, into: Path, rounds: int) -> None:
    mime_type = derive.sniff(original.read_bytes()[: derive.HEAD_SIZE]).mime_type
    costs, ways = (Cost(), Cost()), []

    def make() -> None:
        derive.derive(original, mime_type, into)

    with contextlib.ExitStack() as leaving:
        for boot in (derive._BOOT, derive._PACKAGES + WITHOUT + derive._BOOT):
            command = [*derive._command(derive._ZYGOTE), boot]
            decoder = leaving.enter_context(contextlib.closing(Decoder(command.copy)))
            known = zygotes()
            derive._decoder = decoder
            make()  # the zygote starts, and loads what it needs
            [zygote] = [one for one in zygotes() if one not in known]
            ways.append((decoder, zygote))
        for number in range(rounds):
            for way in ((0, 1), (1, 0))[number % 2]:
                derive._decoder, zygote = ways[way]
                add_round(costs[way], zygote, make)
        derive._decoder = None
    with_rights_dropped, without = costs
    report.say(f"{name}: {with_rights_dropped}; without {without}")
    report.say(f"  of without: {with_rights_dropped.compared(without)}")


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    pillow_heif.register_heif_opener()
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "copies"
        into.mkdir()
        for name, original in draw_originals(Path(folder)).items():
            # A small picture takes a hundredth of the others' time, and is known as coarsely.
            rounds = asked.rounds * (10 if name == SMALL else 1)
            compare(report, name, original, into, rounds)


if __name__ == "__main__":
    figures.run(__doc__, measure, rounds=(20, 1))
