"""The sandboxed child process of derive(): drop rights first, then read the file.

Reads the original from standard input, writes derivatives into the working folder, and prints one
line of JSON each time more is known: the last one counts. So a video whose playable copy takes too
long still has its poster.
"""

import errno
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from viewer.derive import confinement
from viewer.derive.kinds.sniff import KINDS
from viewer.derive.libc import libc
from viewer.derive.types import (
    OUT_OF_MEMORY,
    Broken,
    Cleaned,
    Derived,
    Described,
    Limits,
    Unreadable,
)

NICENESS = 10  # of the process, whatever its parent's is

# Imported by name when needed: a photo needs neither FFmpeg nor 70 ms to load it.
_DOES = {
    "make_derivatives": {
        "photo": "pictures.photos",
        "video": "tracks.video",
        "audio": "tracks.audio",
    },
    "clean": {
        "photo": "pictures.clean_photos",
        "video": "tracks.clean_tracks",
        "audio": "tracks.clean_tracks",
    },
    "describe": {"photo": "pictures.exif"},
}


def main(order: str) -> None:
    """Run the task named in argv. Exit status 0 if an answer was printed."""
    wanted = json.loads(order)
    limits = Limits(**wanted["limits"])
    die_with(wanted["parent"])
    _limit(limits)
    try:
        load(wanted["task"], wanted["mime_type"])  # while Python may still keep what it compiled
        confinement.drop_rights()
        source = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (standard input)
        for answer in _do(wanted["task"], source, wanted["mime_type"], limits):
            _say(asdict(answer))
    except Unreadable as unreadable:
        _say({"unreadable": unreadable.reason, "is_broken": isinstance(unreadable, Broken)})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _say({"no_room": "The disk for photos is full."})
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)


def die_with(parent: int) -> None:
    """Die with the parent: a job killed while it waits must not leave us decoding.

    To the kernel the parent is the thread that started us, so that one has to stay as well.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit("parent is gone")


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),  # a core dump would be a customer's photo in a strange place
    ):
        resource.setrlimit(what, (most, most))
    # Webhooks and pages come first, however many pictures are waiting.
    os.nice(max(0, NICENESS - os.nice(0)))  # a worker is nice already


def _do(
    task: str, source: BinaryIO, mime_type: str, limits: Limits
) -> Iterator[Derived | Cleaned | Described]:
    room = load(task, mime_type)
    if room is None:
        raise Unreadable("This kind of file has no preview.")
    answers: Iterator[Derived | Cleaned | Described] = getattr(room, task)(
        source, KINDS[mime_type], Path(), limits
    )
    return answers


def load(task: str, mime_type: str) -> ModuleType | None:
    """Import what does this to such a file; None if nothing does."""
    kind, rooms = KINDS.get(mime_type), _DOES[task]
    if kind is None or kind.media_type not in rooms:
        return None
    return importlib.import_module(f"viewer.derive.{rooms[kind.media_type]}")


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, default=str), flush=True)  # noqa: T201
