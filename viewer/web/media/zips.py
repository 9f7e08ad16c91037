"""Stream originals as a ZIP: constant memory, no temporary file, whatever the size.

Stored, not deflated: photos do not shrink, and so Content-Length is known before the first byte.
Written by the standard library: zipstream-ng dates every file with the time of the download, and a
photo's date is when it was sent.

    return zips.answer(
        [zips.Entry(media, "Basement/crack.jpg")],
        "Dana Whitfield.zip",
        {"README.txt": "What this is.\\n"},
    )

Files known to be missing are listed in MISSING.txt. A file found missing or altered (SHA-256) while
it is read aborts the connection: a failed download is better than an archive that is wrong.
"""

import hashlib
import logging
import os
import re
import struct
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import quote

from flask import Response, abort

from viewer import holdings
from viewer.extensions import now
from viewer.holdings import WrongSize
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Missing, StorageError, Store, Unavailable
from viewer.web.formatting import local

log = logging.getLogger(__name__)

CHUNK = 256 * 1024  # bytes
SUMS, MISSING = "SHA256SUMS", "MISSING.txt"

# zipfile's ZIP64 thresholds: with the sizes of its structures, they determine the length.
_LARGE = 2**31 - 1  # bytes; ZIP64 in the central directory
_MANY = 2**16 - 1  # files; ZIP64 end record
_LARGE_ON_THE_WAY = 2**30  # bytes; ZIP64 local header: our own threshold, well below zipfile's

_UNSAFE = re.compile(r'[<>:"|?*\\/]')  # not allowed in Windows file names
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)
_LONGEST = 100  # characters of a name: a desktop path and some folders still fit into Windows' 260
_LONGEST_BYTES = 240  # of a name: Linux takes 255, and " (2)" may follow


@dataclass(frozen=True, slots=True)
class Entry:
    """A file asked for, and its name in the archive."""

    media: MediaAttachment
    name: str  # "/" separates folders; sanitized and deduplicated by `answer`
    problem: str | None = None  # why it is unavailable: then it is only listed in MISSING.txt


class BrokenOff(Exception):
    """A file failed while streaming: the archive cannot be completed, the connection is aborted."""


def answer(
    entries: Iterable[Entry],
    file_name: str,
    texts: Mapping[str, str | bytes] | None = None,
    *,
    is_about_texts: bool = False,
) -> Response:
    """Respond with a ZIP of these files, and `texts` (name to content), downloaded as `file_name`.

    Aborts with 404 if no file is available, unless it `is_about_texts`, and with 503 if the store
    does not answer. While streaming: raises BrokenOff.
    """
    try:
        members, missing = _plan(list(entries), texts or {})
    except Unavailable as trouble:
        abort(503, str(trouble))
    has_files = any(isinstance(member, _Original) for member in members)
    if not has_files and not is_about_texts:
        reasons = ", ".join(sorted(set(missing.values()))) or "none was chosen"
        abort(404, f"There is no file to download: {reasons}.")
    # Built here: the request context is gone while the response streams.
    infos = [_info(member) for member in members]
    response = Response(_stream(members, infos), mimetype="application/zip")
    response.direct_passthrough = True
    response.content_length = _length(members)
    response.headers["Content-Disposition"] = _disposition(file_name)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Accept-Ranges"] = "none"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer the whole archive on its disk
    return response


def write(
    path: Path, entries: Iterable[Entry], texts: Mapping[str, str | bytes] | None = None
) -> int:
    """Write the same archive into a new file, for its owner alone. Its size in bytes.

    Raises BrokenOff, Unavailable, OSError.
    """
    members, _ = _plan(list(entries), texts or {})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in _stream(members, [_info(member) for member in members]):
            file.write(chunk)
        return file.tell()


def safe_name(words: str) -> str:
    """Sanitize a file name for Windows, macOS and sha256sum, with as few changes as possible."""
    words = unicodedata.normalize("NFC", words)
    # Drops invisible characters too, such as bidi overrides that show "gpj.exe" as "exe.jpg".
    words = "".join(sign for sign in words if sign.isprintable())
    words = _UNSAFE.sub("-", words).strip(". ")
    words = re.sub("^-", "_", words)  # sha256sum reads "-" as stdin, others "-rf" as an option
    if len(words) > _LONGEST or len(words.encode()) > _LONGEST_BYTES:
        suffix = PurePosixPath(words).suffix[:10]
        room = _LONGEST_BYTES - len(suffix.encode())
        words = _cut(words[: _LONGEST - len(suffix)], room).rstrip(". ") + suffix
    return _DEVICES.sub(r"\1_", words) if _DEVICES.match(words) else words or "_"


def _cut(words: str, room: int) -> str:
    """The beginning that fits into so many bytes, without half a letter or one bare of its accents.

    Linux counts a name in bytes: a hundred letters of Chinese are three hundred.
    """
    end = len(words.encode()[:room].decode("utf-8", "ignore"))
    while end < len(words) and end > 0 and unicodedata.category(words[end]).startswith("M"):
        end -= 1
    return words[:end]


@dataclass(frozen=True, slots=True)
class _Original:
    """Archive member: a file of the store."""

    name: str
    at: datetime
    size: int
    store: Store
    key: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Text:
    """Archive member: a text that we generate."""

    name: str
    at: datetime
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(slots=True)
class _Sums:
    """Archive member SHA256SUMS: its size is known before its checksums are."""

    at: datetime
    names: list[str]
    lines: list[str] = field(default_factory=list)
    name: str = SUMS

    @property
    def size(self) -> int:
        return sum(64 + 2 + len(name.encode()) + 1 for name in self.names)


_Member = _Original | _Text | _Sums


def _plan(
    entries: list[Entry], texts: Mapping[str, str | bytes]
) -> tuple[list[_Member], dict[str, str]]:
    """List the members of the archive, and the missing names with the reason."""
    moment = now()
    names = _unique([SUMS, MISSING, *texts, *(entry.name for entry in entries)])[2:]
    members: list[_Member] = [
        _Text(name, moment, words if isinstance(words, bytes) else words.encode())
        for name, words in zip(names, texts.values(), strict=False)
    ]
    missing: dict[str, str] = {}
    for entry, name in zip(entries, names[len(texts) :], strict=True):
        found = _find(entry)
        if isinstance(found, str):
            missing[name] = found
        else:
            media = entry.media
            members.append(
                _Original(
                    name, media.sent_at, media.file_size or 0, found, media.file_path, media.sha256
                )
            )
    if missing:
        members.insert(0, _Text(MISSING, moment, _list(missing).encode()))
    members.append(_Sums(moment, [member.name for member in members]))
    return members, missing


def _find(entry: Entry) -> Store | str:
    """The store that has the file, or why it is unavailable. Raises Unavailable if the store is."""
    if entry.problem:
        return entry.problem
    try:
        return holdings.find_original(entry.media)
    except (Missing, WrongSize) as trouble:
        findings.meet(entry.media, trouble)
        is_gone = isinstance(trouble, Missing)
        return "it is missing from the store" if is_gone else "it is damaged in the store"


def _list(missing: Mapping[str, str]) -> str:
    lines = "".join(f"{name}: {problem}\r\n" for name, problem in missing.items())
    return f"These files were asked for and are not in this archive:\r\n\r\n{lines}"


def _unique(names: list[str]) -> list[str]:
    """Sanitize the names and deduplicate them, case-insensitively, as Windows and macOS compare."""
    safe = ["/".join(safe_name(part) for part in name.split("/") if part) or "_" for name in names]
    taken = {str(folder).casefold() for name in safe for folder in PurePosixPath(name).parents}
    found = []
    for name in safe:
        path, number = PurePosixPath(name), 1
        while name.casefold() in taken:
            number += 1
            name = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        taken.add(name.casefold())
        found.append(name)
    return found


def _length(members: list[_Member]) -> int:
    """Compute the exact size of the archive in bytes, as zipfile will write it."""
    position = directory = 0
    for member in members:
        name, stamp = len(member.name.encode()), len(_stamp(member.at))
        directory += 46 + name + stamp
        if extra := 16 * (member.size > _LARGE) + 8 * (position > _LARGE):
            directory += 4 + extra
        is_large = member.size > _LARGE_ON_THE_WAY
        position += 30 + name + stamp + 20 * is_large + member.size + (24 if is_large else 16)
    needs_more = len(members) > _MANY or position > _LARGE or directory > _LARGE
    return position + directory + 22 + 76 * needs_more


def _stream(members: list[_Member], infos: list[zipfile.ZipInfo]) -> Iterator[bytes]:
    sink, sums = _Sink(), cast("_Sums", members[-1])
    with zipfile.ZipFile(sink, "w") as archive:
        for member, info in zip(members, infos, strict=True):
            digest, size = hashlib.sha256(), 0
            is_large = member.size > _LARGE_ON_THE_WAY
            with archive.open(info, "w", force_zip64=is_large) as inside:
                for chunk in _chunks(member):
                    digest.update(chunk)
                    size += len(chunk)
                    inside.write(chunk)
                    yield sink.take()
            _check(member, size, digest.hexdigest())
            sums.lines.append(f"{digest.hexdigest()}  {member.name}\n")
    yield sink.take()


def _chunks(member: _Member) -> Iterator[bytes]:
    if isinstance(member, _Text):
        yield member.content
        return
    if isinstance(member, _Sums):
        yield "".join(member.lines).encode()
        return
    try:
        # One byte more than announced is enough to detect a longer file.
        with member.store.open(member.key, length=member.size + 1) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except StorageError as trouble:
        log.error("zip: %s broke off: %s", member.key, trouble)
        raise BrokenOff(member.key) from trouble


def _check(member: _Member, size: int, sha256: str) -> None:
    """Verify size and checksum, before more is sent. Raises BrokenOff: the headers are out, so an
    error page is impossible and the download has to fail.
    """
    expected = member.sha256 if isinstance(member, _Original) else None
    if size != member.size or expected not in (None, sha256):
        log.error("zip: %s broke off: its bytes are not those that were stored", member.name)
        raise BrokenOff(member.name)


def _info(member: _Member) -> zipfile.ZipInfo:
    here = local(member.at)
    info = zipfile.ZipInfo(member.name)
    info.date_time = (
        min(max(here.year, 1980), 2107), here.month, here.day, here.hour, here.minute, here.second
    )  # fmt: skip
    info.file_size = member.size
    info.external_attr = 0o100644 << 16
    info.extra = _stamp(member.at)
    return info


def _stamp(at: datetime) -> bytes:
    """Extended timestamp field (0x5455), in UTC: the DOS date is local time without a zone."""
    seconds = min(max(int(at.timestamp()), 0), 2**31 - 1)
    return struct.pack("<HHBl", 0x5455, 5, 1, seconds)


def _disposition(file_name: str) -> str:
    safe = safe_name(file_name)
    plain = unicodedata.normalize("NFKD", safe).encode("ascii", "ignore").decode()
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"


class _Sink:
    """File object for zipfile: buffers what was written until `take`."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def take(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held
