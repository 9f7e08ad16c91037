"""Choose where a file will be stored, before its download, from nothing a stranger controls.

2025/01/15/617-555-0123/messages/1642282800_photo.jpg
day (UTC)  customer     kind     epoch_name
"""

import mimetypes
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from viewer import quo

FOLDERS = {
    quo.Role.ATTACHMENT: "messages",
    quo.Role.VOICEMAIL: "voicemails",
    quo.Role.RECORDING: "recordings",
}

# The provider names files by a hash: that tells nobody anything.
_MEANINGLESS = re.compile(r"[0-9a-f-]{16,}|[^a-z]*", re.IGNORECASE)


def stem(role: quo.Role, sent_at: datetime, customer: str, name: str) -> str:
    """The path without its extension. `name` must come from `clean_name`."""
    moment = sent_at.astimezone(UTC)
    return (
        f"{moment:%Y/%m/%d}/{quo.folder_name(customer)}/{FOLDERS[role]}"
        f"/{int(moment.timestamp())}_{name}"
    )


def clean_name(role: quo.Role, url: str | None, declared_type: str | None) -> str:
    """A short name in [A-Za-z0-9-]: the source's own, if people can read it.

    Without underscores: copies are named <stem>_thumb.jpg and so on, and no original may be.
    """
    found = _path(url).stem
    found = re.sub(r"[^A-Za-z0-9-]+", "-", found).strip("-")[:60].rstrip("-")
    if role is quo.Role.ATTACHMENT and found and not _MEANINGLESS.fullmatch(found):
        return found
    if role is not quo.Role.ATTACHMENT:
        return role.value
    family = (declared_type or "image/").partition("/")[0]
    return {"image": "photo", "video": "video", "audio": "audio"}.get(family, "file")


def first_extension(role: quo.Role, url: str | None, declared_type: str | None) -> str:
    """Guess the extension from the declared type; after the download it follows the content."""
    known = mimetypes.guess_extension(declared_type or "", strict=False)
    if known:
        return {".jpe": ".jpg", ".jpeg": ".jpg"}.get(known, known)
    suffix = _path(url).suffix.lower()
    if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix):
        return suffix
    return ".jpg" if role is quo.Role.ATTACHMENT else ".mp3"


def file_name(url: str | None) -> str | None:
    """The source's file name, for display; never used as a path."""
    name = _path(url).name
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable[:255] or None


def split(url: str) -> SplitResult | None:
    """Split a URL; None for an invalid one, such as `https://[x`."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _path(url: str | None) -> PurePosixPath:
    parts = split(url or "")
    return PurePosixPath(unquote(parts.path) if parts else "")
