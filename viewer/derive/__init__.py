"""Make derivatives and clean copies of originals that strangers sent, in a sandboxed child process.

Media decoders are where hostile files attack, so each original is decoded by a child process of its
own, with no environment, little memory and little time. The child reads the original through a
read-only descriptor and writes into one folder; nothing here alters originals. All else the kernel
refuses it (confinement.py).

A child is a fresh interpreter, 60 ms of start and imports. A worker, which decodes all day, does so
within

    with derive.warm():
        ...

There, in any of its threads, each child is forked from a zygote (zygote.py) that has imported the
decoders and nothing else; limits, answers and errors are the same.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from viewer.derive import answers
from viewer.derive.confinement import missing as missing_confinement
from viewer.derive.decoder import ENVIRONMENT, Decoder, NotStarted
from viewer.derive.kinds.sniff import HEAD_SIZE, INLINE_TYPES, KINDS, Kind, is_carrier_part, sniff
from viewer.derive.kinds.texts import decoded
from viewer.derive.limits import LONGEST_SECONDS, limits_of
from viewer.derive.pictures.shapes import preview_box, thumbnail_crop
from viewer.derive.types import (
    OUT_OF_MEMORY,
    PREVIEW_SIDE,
    Broken,
    Cleaned,
    Derived,
    DeriveError,
    Described,
    Killed,
    Limits,
    NoRoom,
    Unreadable,
)

__all__ = [
    "HEAD_SIZE",
    "INLINE_TYPES",
    "KINDS",
    "LONGEST_SECONDS",
    "PREVIEW_SIDE",
    "Broken",
    "Cleaned",
    "DeriveError",
    "Derived",
    "Described",
    "Killed",
    "Kind",
    "Limits",
    "NoRoom",
    "Unreadable",
    "clean",
    "decoded",
    "derive",
    "describe",
    "is_carrier_part",
    "limits_of",
    "missing_confinement",
    "preview_box",
    "sniff",
    "thumbnail_crop",
    "warm",
]

log = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()
LONGEST_ANSWERS = 1024 * 1024  # bytes

_FOLDER = Path(__file__).resolve().parent

# `viewer` and `viewer.derive` themselves are put in place by hand, because importing them would
# bring the whole web application along: half a second and 60 MB for each photo, and more than a
# decoder of strangers' files should have at hand.
_PACKAGES = f"""
import sys
for name, folder in (("viewer", {str(_FOLDER.parent)!r}), ("viewer.derive", {str(_FOLDER)!r})):
    sys.modules.setdefault(name, type(sys)(name)).__path__ = [folder]
"""

# What a child does, whether it is a fresh interpreter or forked from the zygote.
_BOOT = (
    _PACKAGES
    + """
from viewer.derive.sandbox import main
main(sys.argv[1])
"""
)

# What the zygote does.
_ZYGOTE = (
    _PACKAGES
    + """
from viewer.derive.zygote import main
main(*sys.argv[1:])
"""
)

_decoder: Decoder | None = None


@contextlib.contextmanager
def warm() -> Iterator[None]:
    """Fork children from a zygote, in all threads of this process, until the block is left.

    It starts with the first original, in the process that has one: a fork before that is fine.
    Leave the block when nothing is being decoded any more.
    """
    global _decoder
    if sys.platform != "linux":  # no SOCK_SEQPACKET, no PR_SET_PDEATHSIG
        yield
        return
    assert _decoder is None, "is warm already"  # noqa: S101
    with contextlib.closing(Decoder(lambda: [*_command(_ZYGOTE), _BOOT])) as _decoder:
        try:
            yield
        finally:
            _decoder = None


def derive(source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS) -> Derived:
    """Make the derivatives of `source` in the folder `into`, and describe the original.

    `kind_mime` comes from sniff() and alone chooses the decoder. Raises Unreadable or Killed,
    and OSError if source cannot be opened. Copies of an earlier run in `into` are replaced.
    """
    answer, death = _ask("make_derivatives", source, kind_mime, into, limits)
    derived = answers.derived(answer, into, kind_mime)
    return replace(derived, problem=derived.problem or death)


def clean(source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS) -> Cleaned:
    """Make a copy without metadata in the folder `into`: picture and sound, nothing else.

    Raises Unreadable where we cannot promise that, Killed, NoRoom, and OSError.
    """
    answer, death = _ask("clean", source, kind_mime, into, limits)
    if death:
        raise Killed(death)
    return answers.cleaned(answer, into)


def describe(
    source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS
) -> Described:
    """Read a photo's EXIF data. Raises as clean() does."""
    answer, _ = _ask("describe", source, kind_mime, into, limits)
    return answers.described(answer, into)


def _ask(
    task: str, source: Path, kind_mime: str, into: Path, limits: Limits
) -> tuple[dict[str, Any], str | None]:
    """Run a child process. Returns its last answer, and how it died unless it exited with 0."""
    order = {"task": task, "mime_type": kind_mime, "limits": asdict(limits)}
    # Files rather than pipes: a decoder that floods its standard error fills neither our
    # memory nor a pipe that nobody empties, it meets its own limit on file size.
    with source.open("rb") as original, TemporaryFile() as written, TemporaryFile() as errors:
        try:
            status = _run(order, (original, written, errors), into, limits.wall_seconds)
        finally:
            for unfinished in into.glob("*.part"):
                unfinished.unlink()
        _log_errors(status, kind_mime, errors)
        death = _last_words(status)
        written.seek(0)
        return answers.last_answer(written.read(LONGEST_ANSWERS), death), death


def _run(
    order: dict[str, Any], files: tuple[IO[bytes], IO[bytes], IO[bytes]], into: Path, seconds: float
) -> int | None:
    """Run a child. Its exit status as Popen knows it; None if it took longer than it may."""
    if _decoder is not None:
        with contextlib.suppress(NotStarted):  # it has said so in the log
            return _decoder.run(order, files, into, seconds)
    original, written, errors = files
    child = subprocess.Popen(
        [*_command(_BOOT), json.dumps(order | {"parent": os.getpid()})],
        stdin=original,
        stdout=written,
        stderr=errors,
        cwd=into,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Also on the way out of a job that was called off while waiting.
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _command(boot: str) -> list[str]:
    return [sys.executable, "-I", "-X", "utf8", "-c", boot]


def _last_words(status: int | None) -> str | None:
    if status is None:
        return "It took longer than it may."
    if status == 0:
        return None
    if status in {-signal.SIGXCPU, -signal.SIGKILL, OUT_OF_MEMORY}:
        return "It needed more computing time or memory than it may."
    if status < 0:
        return f"The decoder crashed ({signal.Signals(-status).name})."
    return "The decoder stopped at something in the file that it does not expect."


def _log_errors(status: int | None, kind_mime: str, errors: IO[bytes]) -> None:
    """What a decoder says in its own words belongs here, and in no sentence for staff."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 400))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    if lines or status:
        words = lines[-1] if lines else ""
        log.warning("decoder of %s, exit status %s: %s", kind_mime, status, words)
