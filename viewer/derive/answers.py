"""Check what a decoder's process answers: a hostile file may have taken it over.

Only known fields with values that can be, and only files that it wrote itself: no link, no other
path. Whoever decides where a file goes, and what a page says, must not be a stranger's photo.
"""

import json
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from viewer.derive.kinds.sniff import KINDS
from viewer.derive.types import (
    Broken,
    Cleaned,
    Derived,
    Described,
    Killed,
    NoRoom,
    Unreadable,
)

LONGEST_WORDS = 500  # characters
LARGEST_NUMBER = 2**31 - 1
LONGEST_PLACEHOLDER = 4096  # characters
MOST_PEAKS = 1000

Check = Callable[[Any], bool]


def last_answer(written: bytes, death: str | None) -> dict[str, Any]:
    """Parse the last whole line: what the child had finished, even if it died afterwards.

    Raises Killed, Unreadable, NoRoom.
    """
    lines = [line for line in written.split(b"\n")[:-1] if line]
    if not lines:
        raise Killed(death or "The decoder ended without an answer.")
    try:
        answer = json.loads(lines[-1])
    except (ValueError, RecursionError) as error:
        raise Killed(_NONSENSE) from error
    if not isinstance(answer, dict):
        raise Killed(_NONSENSE)
    for name, reason in (("no_room", NoRoom), ("unreadable", Unreadable)):
        if name in answer:
            words = answer[name]
            if not words or not _words(words):
                raise Killed(_NONSENSE)
            raise (Broken if answer.get("is_broken") is True else reason)(words)
    return answer


def derived(answer: dict[str, Any], into: Path, kind_mime: str) -> Derived:
    """Raises Killed for an answer that cannot be, of an original of this kind."""
    found = Derived(**_checked(answer, into, _DERIVED))
    kind, said = KINDS.get(kind_mime), KINDS[found.mime_type]
    # Decoding may find that a film is sound alone, or which sound is behind a large tag.
    is_sound = said.media_type == "audio" and kind is not None and kind.media_type in _HEARD
    if not (said is kind or is_sound) or found.media_type != said.media_type:
        raise Killed(_NONSENSE)
    return found


def cleaned(answer: dict[str, Any], into: Path) -> Cleaned:
    """Raises Killed for an answer that cannot be."""
    found = _checked(answer, into, _CLEANED)
    if found["file"] is None:  # it said null
        raise Killed(_NONSENSE)
    return Cleaned(**found)


def described(answer: dict[str, Any], into: Path) -> Described:
    """Raises Killed for an answer that cannot be."""
    return Described(**_checked(answer, into, dict.fromkeys(_DESCRIBED, _words)))


def _checked(
    answer: dict[str, Any], into: Path, checks: dict[str, Check | tuple[str, ...]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answer.keys() - checks.keys() or _NEEDED & checks.keys() - answer.keys():
        raise Killed(_NONSENSE)
    for name, value in answer.items():
        check = checks[name]
        if isinstance(check, tuple):
            found[name] = None if value is None else _file(value, into, check)
        elif check(value):
            found[name] = value
        else:
            raise Killed(_NONSENSE)
    return found


def _file(name: object, into: Path, names: tuple[str, ...]) -> Path:
    """A file of this name that lies in the folder itself."""
    if not isinstance(name, str) or name not in names:
        raise Killed(_NONSENSE)
    path = into / name
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise Killed(_NONSENSE) from error
    if not stat.S_ISREG(mode):
        raise Killed(_NONSENSE)
    return path


_NONSENSE = "The decoder gave an answer that makes no sense."


def _words(value: object) -> bool:
    return value is None or (
        isinstance(value, str)
        and len(value) <= LONGEST_WORDS
        and all(sign.isprintable() for sign in value)
    )


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and 0 < value <= LARGEST_NUMBER)


def _is_duration(value: object) -> bool:
    return value is None or (
        type(value) in (int, float) and math.isfinite(value) and 0 <= value <= LARGEST_NUMBER  # type: ignore[arg-type, operator]
    )


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and value in KINDS


def _is_placeholder(value: object) -> bool:
    if value is None:
        return True
    start = "data:image/webp;base64,"
    return (
        isinstance(value, str)
        and len(value) <= LONGEST_PLACEHOLDER
        and value.startswith(start)
        and all(sign.isalnum() or sign in "+/=" for sign in value[len(start) :])
        and value.isascii()
    )


def _are_peaks(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) <= MOST_PEAKS
        and all(type(one) is int and 0 <= one <= 100 for one in value)
    )


_HEARD = ("video", "audio")
_NEEDED = {"mime_type", "media_type", "file"}
_DERIVED: dict[str, Check | tuple[str, ...]] = {
    "mime_type": _is_kind,
    "media_type": lambda value: value in ("photo", "video", "audio", "document"),
    "width": _is_count,
    "height": _is_count,
    "duration_seconds": _is_duration,
    "thumbnail": ("thumbnail.jpg",),
    "preview": ("preview.jpg",),
    "full": ("full.jpg",),
    "playable": ("playable.mp4", "playable.mp3"),
    "playable_type": lambda value: value is None or _is_kind(value),
    "placeholder": _is_placeholder,
    "peaks": _are_peaks,
    "is_playable": _is_flag,
    "is_incomplete": _is_flag,
    "problem": _words,
}
_CLEANED: dict[str, Check | tuple[str, ...]] = {
    "file": tuple(f"clean.{kind.extension}" for kind in KINDS.values()),
    "mime_type": _is_kind,
    "is_remade": _is_flag,
}
_DESCRIBED = ("camera", "lens", "taken_at", "place")
