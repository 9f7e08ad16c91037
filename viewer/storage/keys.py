"""Every family of keys, in one place.

  2025/01/15/617-555-0123/messages/1736977200_photo.jpg   an original: its stem is made by naming
  …_photo_thumb.jpg, _preview.jpg, _full.jpg, _playable.* its derivatives, beside it
  shared/2/<id>-<sha256>-whole.jpg, -plays.mp4            a clean copy for strangers, made on demand
  quarantine/<id>.jpg                                     the bytes of a purged original
  quarantine/damaged/<id>-<sha256>.jpg                    the wrong bytes of a repaired original
  quarantine/incomplete/<id>.jpg                          the cut bytes of a file that came whole
  rejected/<id>                                           an error page that came in place of a file
  probe/<id>                                              what a service is tried with, for a second

Until November 2026 error pages were kept under `evidence/`, where they stay; no row names them.
What is still being written or decoded has no key: it lies in the workspace, under a name that
begins with a dot.
"""

import re
import uuid
from pathlib import PurePosixPath

# Every segment: no leading dot, and nothing that a file system or a URL treats specially.
_KEY = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}(/(?!\.)[A-Za-z0-9._-]{1,200})*")
_LONGEST = 500  # characters

# What follows the original's stem. Originals have no second underscore, so none has such a name.
_ENDINGS = {
    "thumbnail": "_thumb",
    "preview": "_preview",
    "full": "_full",
    "playable": "_playable",
}

_NOT_MEDIA = ("shared", "quarantine", "rejected", "evidence", "probe")

CLEAN_COPIES = "shared/"
# Changes when cleaning does: copies made by an earlier way are made again.
_CLEANING = 2


def check_key(key: str) -> str:
    """The key itself. Raises ValueError for one that we would never have chosen."""
    if not is_key(key):
        raise ValueError(f"not a key: {key!r}")
    return key


def is_key(key: str) -> bool:
    return len(key) <= _LONGEST and _KEY.fullmatch(key) is not None


def stem(original: str) -> str:
    """The key without its extension: what derivatives are named after."""
    return original.rpartition(".")[0]


def derivative(original: str, name: str, extension: str) -> str:
    """`name` is thumbnail, preview, full or playable."""
    return f"{stem(original)}{_ENDINGS[name]}.{extension}"


def derivatives(original: str) -> list[str]:
    """Every key that a derivative of this original may have."""
    extensions = {"playable": ("mp4", "mp3", "m4a")}
    return [
        derivative(original, name, extension)
        for name in _ENDINGS
        for extension in extensions.get(name, ("jpg",))
    ]


def is_derivative(key: str) -> bool:
    """Whether this is the name of a derivative: no original has such an ending."""
    return stem(key).endswith(tuple(_ENDINGS.values()))


def family(key: str) -> str:
    """The stem of the original that this is, or is a derivative of."""
    found = stem(key) or key
    if is_derivative(key):
        found = found.rpartition("_")[0]
    return found


def is_media(key: str) -> bool:
    """Whether this is an original or a derivative of one, and no bytes kept for another reason."""
    return key.partition("/")[0] not in _NOT_MEDIA


def shared(media_id: uuid.UUID, sha256: str, use: str, extension: str) -> str:
    """`use` is whole (the file as a download), small (what goes out in its place) or plays.

    `sha256` is the original's.
    """
    return f"{CLEAN_COPIES}{_CLEANING}/{media_id}-{sha256[:16]}-{use}.{extension}"


def is_cached(key: str) -> bool:
    """Whether each host makes its own copy of this file, whichever store has the original."""
    return key.startswith(CLEAN_COPIES)


def media_of_clean_copy(key: str) -> uuid.UUID | None:
    """The id in the key of a clean copy; None if it was made by an earlier way of cleaning."""
    name = key.removeprefix(f"{CLEAN_COPIES}{_CLEANING}/")
    return None if name == key else uuid.UUID(name[:36])


def damaged(media_id: uuid.UUID, original: str, sha256: str) -> str:
    """Where the wrong bytes of an original go when the right ones come back."""
    suffix = PurePosixPath(original).suffix
    return f"quarantine/damaged/{media_id}-{sha256[:16]}{suffix}"


def quarantined(media_id: uuid.UUID, original: str) -> str:
    return f"quarantine/{media_id}{PurePosixPath(original).suffix}"


def superseded(media_id: uuid.UUID, original: str) -> str:
    """Where the bytes of an incomplete original go when all of it came."""
    return f"quarantine/incomplete/{media_id}{PurePosixPath(original).suffix}"


def all_of(original: str) -> list[str]:
    """The original and every key that a derivative of it may have."""
    return [original, *derivatives(original)]


def put_aside(media_id: uuid.UUID, original: str) -> list[str]:
    """Every key at which bytes of this file may be kept for another reason."""
    return [
        quarantined(media_id, original),
        superseded(media_id, original),
        rejected(media_id),
        f"evidence/{media_id}",  # error pages, until November 2026
    ]


def damaged_of(media_id: uuid.UUID) -> str:
    """What the keys of all its wrong bytes begin with."""
    return f"quarantine/damaged/{media_id}-"


def in_folder(original: str, customer: str) -> str:
    """The same name in the folder of another customer."""
    year, month, day, _, *rest = original.split("/")
    return "/".join([year, month, day, customer, *rest])


def probe() -> str:
    return f"probe/{uuid.uuid4()}"


def is_probe(key: str) -> bool:
    """Whether this is what a probe of a service placed."""
    return key.startswith("probe/")


def rejected(media_id: uuid.UUID) -> str:
    return f"rejected/{media_id}"
