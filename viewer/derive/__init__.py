"""Make derivatives and clean copies of originals that strangers sent, in a sandboxed child process.

Media decoders are where hostile files attack, so each original is decoded by a child process of its
own, with no environment, little memory and little time. The child reads the original through a
read-only descriptor and writes into one folder; nothing here alters originals.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from viewer.derive.sniff import HEAD_SIZE, INLINE_TYPES, KINDS, Kind, sniff
from viewer.derive.types import (
    PREVIEW_SIDE,
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
    "PREVIEW_SIDE",
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
    "derive",
    "describe",
    "sniff",
]

DEFAULT_LIMITS = Limits()

_PACKAGE = Path(__file__).resolve().parent.parent

# `viewer` itself is put in place by hand, because importing it would bring the whole web
# application along: half a second and 60 MB for each photo, and more than a decoder of
# strangers' files should have at hand.
_BOOT = """
import sys
viewer = type(sys)("viewer")
viewer.__path__ = [sys.argv[1]]
sys.modules["viewer"] = viewer
from viewer.derive.sandbox import main
main(sys.argv[2])
"""


def derive(source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS) -> Derived:
    """Make the derivatives of `source` in the folder `into`, and describe the original.

    `kind_mime` comes from sniff() and alone chooses the decoder. Raises Unreadable or Killed,
    and OSError if source cannot be opened. Copies of an earlier run in `into` are replaced.
    """
    answer, death = _ask("make_derivatives", source, kind_mime, into, limits)
    for copy in ("thumbnail", "preview", "full", "playable"):
        answer[copy] = answer[copy] and into / answer[copy]
    derived = Derived(**answer)
    return replace(derived, problem=derived.problem or death)


def clean(source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS) -> Cleaned:
    """Make a copy without metadata in the folder `into`: picture and sound, nothing else.

    Raises Unreadable where we cannot promise that, Killed, NoRoom, and OSError.
    """
    answer, death = _ask("clean", source, kind_mime, into, limits)
    if death:
        raise Killed(death)
    return Cleaned(**(answer | {"file": into / answer["file"]}))


def describe(
    source: Path, kind_mime: str, into: Path, limits: Limits = DEFAULT_LIMITS
) -> Described:
    """Read a photo's EXIF data. Raises as clean() does."""
    answer, _ = _ask("describe", source, kind_mime, into, limits)
    return Described(**answer)


def _ask(
    task: str, source: Path, kind_mime: str, into: Path, limits: Limits
) -> tuple[dict[str, Any], str | None]:
    """Run a child process. Returns its last answer, and how it died unless it exited with 0."""
    order = {"task": task, "mime_type": kind_mime, "parent": os.getpid(), "limits": asdict(limits)}
    command = [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, str(_PACKAGE), json.dumps(order)]
    # Files rather than pipes: a decoder that floods its standard error fills neither our
    # memory nor a pipe that nobody empties, it meets its own limit on file size.
    with source.open("rb") as original, TemporaryFile() as answers, TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=original,
            stdout=answers,
            stderr=errors,
            cwd=into,
            env={"MALLOC_ARENA_MAX": "1"},  # else each thread reserves 64 MB of the allowance
            start_new_session=True,
        )
        death = _wait(child, limits)
        for unfinished in into.glob("*.part"):
            unfinished.unlink()
        death = death or _last_words(child.returncode, errors)
        return _answer(answers, death), death


def _wait(child: "subprocess.Popen[bytes]", limits: Limits) -> str | None:
    """Wait for the child up to its limit. Returns how it died unless it exited with 0."""
    try:
        child.wait(limits.wall_seconds)
    except subprocess.TimeoutExpired:
        return "It took longer than it may."
    finally:
        # Also on the way out of a job that was called off while waiting.
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return None


def _last_words(status: int, errors: IO[bytes]) -> str | None:
    if status == 0:
        return None
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return "It needed more computing time or memory than it may."
    if status < 0:
        return f"The decoder crashed ({signal.Signals(-status).name})."
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 400))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"The decoder stopped: {lines[-1] if lines else f'exit status {status}'}"


def _answer(answers: IO[bytes], death: str | None) -> dict[str, Any]:
    """Parse the last whole line: what the child had finished, even if it died afterwards."""
    answers.seek(0)
    lines = [line for line in answers.read(1024 * 1024).split(b"\n")[:-1] if line]
    if not lines:
        raise Killed(death or "The decoder ended without an answer.")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "no_room" in answer:
        raise NoRoom(answer["no_room"])
    if "unreadable" in answer:
        raise Unreadable(answer["unreadable"])
    return answer
