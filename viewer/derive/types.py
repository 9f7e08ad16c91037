"""Limits and answers of the sandbox. Imports nothing heavy: both sides use it.

DeriveError
  Unreadable   an ordinary outcome: this file cannot be shown, and never will be by this code
    Broken     because the file, as it was sent, is cut or damaged
  Killed       a limit, a signal or a crash: worth another try, but not for ever
"""

from dataclasses import dataclass
from pathlib import Path

from viewer.derive.kinds.sniff import MediaType

THUMBNAIL_SIDE = 480  # pixels, the longer one
PREVIEW_SIDE = 2048

OUT_OF_MEMORY = 3  # exit status of a child
STARTED = b"started"  # what a zygote says to the worker once it has forked


class DeriveError(Exception):
    """`reason` is a sentence for the staff."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreadable(DeriveError):
    """Nothing can be shown of this file. The original stays what it is: a download."""


class Broken(Unreadable):
    """Nothing can be shown because the file, as it was sent, is cut or damaged."""


class Killed(DeriveError):
    """The child did not live to an answer. Try again, at most three times."""


class NoRoom(DeriveError):
    """The disk for the copies is full: not the file's fault. Try again later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one hostile file may cost us."""

    memory_bytes: int = 1024**3  # address space, so more than will ever be resident
    cpu_seconds: int = 20
    wall_seconds: float = 60
    file_bytes: int = 256 * 1024**2  # of each file the child writes
    open_files: int = 64
    pixels: int = 100_000_000  # decoded; a JPEG, decoded at a fraction, may claim four times that


@dataclass(frozen=True, slots=True)
class Derived:
    """What we learnt of an original, and the copies made of it. None: there is none of it."""

    mime_type: str  # as sniffed, or corrected: a film without a picture is audio/3gpp
    media_type: MediaType
    width: int | None = None  # as shown, after rotation
    height: int | None = None
    duration_seconds: float | None = None
    thumbnail: Path | None = None  # JPEG, longest side 480; of a strip the middle
    preview: Path | None = None  # JPEG, longest side 2048; longer if it is a strip
    full: Path | None = None  # JPEG of every pixel, where browsers do not show the original so
    playable: Path | None = None  # None too where the original plays everywhere
    playable_type: str | None = None
    placeholder: str | None = None  # a blur as data: URI (the page's policy needs img-src data:)
    peaks: list[int] | None = None  # 200 loudnesses, 0 to 100
    is_playable: bool = True  # in browsers: the original is, or the copy; photos always
    is_incomplete: bool = False  # shown as far as it goes; the file as sent is cut or broken
    problem: str | None = None  # for the staff: what could not be made although the rest was


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A copy of an original that says nothing of place, time, people or device."""

    file: Path
    mime_type: str
    is_remade: bool = (
        False  # encoded anew; otherwise what is seen and heard is bit for bit the same
    )


@dataclass(frozen=True, slots=True)
class Described:
    """What a camera wrote into a photo, in words. None: it did not say."""

    camera: str | None = None
    lens: str | None = None
    taken_at: str | None = None  # by the camera's own clock
    place: str | None = None  # degrees north and east
