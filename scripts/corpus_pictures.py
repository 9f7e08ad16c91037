"""Try every picture of a folder through derive and clean, and set it beside other readers' word.

    python -m scripts.corpus_pictures FOLDER

Prints Markdown: a table of outcomes, then each picture on which the readers disagree. The others
are Pillow's own full load and, where it is installed, libvips.
"""

import concurrent.futures
import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pillow_heif
from PIL import Image

from viewer import derive

warnings.simplefilter("ignore")
pillow_heif.register_heif_opener()


@dataclass(frozen=True, slots=True)
class Outcome:
    path: Path
    kind: str
    derived: str  # shown, incomplete, unreadable, killed
    reason: str
    cleaned: str  # as sent, encoded anew, unreadable, killed
    others: tuple[str, ...]  # the readers that load every pixel of it

    @property
    def is_odd(self) -> bool:
        return (
            "killed" in (self.derived, self.cleaned)
            or bool(self.derived != "shown" and self.others)
            or (self.derived == "shown" and self.cleaned == "unreadable")
        )


def main(folder: Path) -> None:
    paths = [path for path in sorted(folder.rglob("*")) if _is_picture(path)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool, derive.warm():
        outcomes = list(pool.map(_try, paths))
    for line in _report(outcomes, folder):
        print(line)


def _is_picture(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return derive.sniff(file.read(derive.HEAD_SIZE)).media_type == "photo"


def _try(path: Path) -> Outcome:
    kind = derive.sniff(path.read_bytes()).mime_type
    with tempfile.TemporaryDirectory() as into:
        derived, reason = "shown", ""
        try:
            found = derive.derive(path, kind, Path(into))
            if found.is_incomplete:
                derived = "incomplete"
            reason = found.problem or ""
        except derive.DeriveError as error:
            derived, reason = _word(error), error.reason
        try:
            copy = derive.clean(path, kind, Path(into))
            cleaned = "encoded anew" if copy.is_remade else "as sent"
        except derive.DeriveError as error:
            cleaned = _word(error)
    return Outcome(path, kind, derived, reason, cleaned, tuple(_others(path)))


def _word(error: derive.DeriveError) -> str:
    return "killed" if isinstance(error, derive.Killed) else "unreadable"


def _others(path: Path) -> Iterator[str]:
    # What a plugin raises at broken bytes is anything: each of them means "cannot".
    with contextlib.suppress(Exception), Image.open(io.BytesIO(path.read_bytes())) as image:
        image.load()
        yield "Pillow"
    program = shutil.which("vips")
    if program is None:
        return
    loaded = subprocess.run(
        [program, "avg", f"{path}[fail_on=truncated]"], capture_output=True, timeout=60
    )
    if loaded.returncode == 0:
        yield "libvips"


def _report(outcomes: list[Outcome], folder: Path) -> Iterator[str]:
    table = Counter((one.kind, one.derived, one.cleaned) for one in outcomes)
    yield "| kind | derived | clean copy | files |"
    yield "|---|---|---|---:|"
    for (kind, derived, cleaned), count in sorted(table.items()):
        yield f"| {kind} | {derived} | {cleaned} | {count} |"
    yield f"| | | all | {len(outcomes)} |"
    yield ""
    yield "| disagree on | derived | clean copy | whole for | reason |"
    yield "|---|---|---|---|---|"
    for one in filter(lambda one: one.is_odd, outcomes):
        name, others = one.path.relative_to(folder), ", ".join(one.others)
        yield f"| {name} | {one.derived} | {one.cleaned} | {others} | {one.reason} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
