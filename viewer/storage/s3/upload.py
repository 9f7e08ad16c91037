"""Put a file under a name that nothing has yet, and believe it only by its checksum."""

import base64
import contextlib
import hashlib
import itertools
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from viewer.failpoint import failpoint
from viewer.storage.checksums import checksum
from viewer.storage.disk import in_words
from viewer.storage.s3.client import Refused, Server
from viewer.storage.s3.reading import S3File
from viewer.storage.store import Occupied, Unavailable

# One PUT has the checksum of the whole file, and creates it in one conditional step. S3 takes 5 GB.
LARGEST_PUT = 512 * 1024 * 1024  # bytes
PART = 16 * 1024 * 1024  # bytes, held in memory; S3 takes 10,000 parts
_PAUSES = (0.2, 0.6, 1.8)  # seconds before a request is repeated that boto3 does not repeat itself

# What a bucket tells a browser that was sent there. All else may be a program: a download.
_TYPES = {
    "3g2": "video/3gpp2",
    "3gp": "video/3gpp",
    "aac": "audio/aac",
    "amr": "audio/amr",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "tif": "image/tiff",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}


_HEADERS = {
    "ContentType": "Content-Type",
    "ContentDisposition": "Content-Disposition",
    "CacheControl": "Cache-Control",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A finished file and what is said of it."""

    path: Path
    size: int
    sha256: bytes

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises Unavailable if the file cannot be read."""
        with in_words(), path.open("rb") as file:
            return cls(path, path.stat().st_size, hashlib.file_digest(file, "sha256").digest())


def put(server: Server, name: str, upload: Upload) -> None:
    """Raises Occupied, Unavailable."""
    is_large = upload.size > LARGEST_PUT
    with in_words(), upload.path.open("rb") as file:
        tag, found = (_put_in_parts if is_large else _put_whole)(server, name, file, upload)
    failpoint("storage.s3.put")
    _confirm(server, name, upload, tag, found)


def put_bytes(server: Server, name: str, content: bytes, sha256: bytes | None = None) -> None:
    """Create a small object. Raises Refused, Unavailable."""
    digest = hashlib.sha256(content).digest() if sha256 is None else sha256
    server.call("put_object", Key=name, Body=content, IfNoneMatch="*", ChecksumSHA256=_text(digest))


def _put_whole(
    server: Server, name: str, file: BinaryIO, upload: Upload
) -> tuple[str | None, str | None]:
    """The object's tag and the checksum that the server computed; both None if it was there."""
    status, said = server.within(
        lambda: server.create(name, file, upload.sha256, _headers(name, upload)), upload.size
    )
    if status == 200:
        return said.get("ETag"), said.get("x-amz-checksum-sha256")
    if status == 412:
        raise Occupied(f"{name} exists already")
    is_retry = not 400 <= status < 500  # it may have had its effect
    trouble: Refused
    for pause in _PAUSES:
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - keeps no secret
        try:
            file.seek(0)
            answer = server.call(
                "put_object",
                upload.size,
                Key=name,
                Body=file,
                IfNoneMatch="*",
                ChecksumSHA256=_text(upload.sha256),
                **_about(name, upload),
            )
            return answer["ETag"], answer.get("ChecksumSHA256")
        except Refused as refused:
            is_retry = is_retry or refused.is_retry
            if refused.status == 412:
                _check_own(is_retry, name)
                return None, None
            # 409: somebody writes the same name just now, which says nothing about who wins.
            if not (refused.status == 409 or refused.is_damage):
                raise
            trouble = refused
    raise trouble


def _put_in_parts(
    server: Server, name: str, file: BinaryIO, upload: Upload
) -> tuple[str | None, str | None]:
    started = server.call(
        "create_multipart_upload", Key=name, ChecksumAlgorithm="SHA256", **_about(name, upload)
    )
    which = {"Key": name, "UploadId": started["UploadId"]}
    try:
        parts = []
        for number in itertools.count(1):
            content = file.read(PART)
            if not content:
                break
            digest = _text(hashlib.sha256(content).digest())
            words = {"Body": content, "PartNumber": number, "ChecksumSHA256": digest}
            answer = server.call("upload_part", len(content), **which, **words)
            failpoint("storage.s3.part")
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest})
        try:
            server.call(
                "complete_multipart_upload",
                upload.size,  # the server puts the parts together before it answers
                **which,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except Refused as refused:
            if refused.status == 412 or refused.code == "NoSuchUpload":
                _check_own(refused.is_retry, name)
            else:
                raise
    finally:
        # Parts are paid for. After a completion there is nothing to abort.
        with contextlib.suppress(Unavailable):
            server.call("abort_multipart_upload", **which)
    return None, None  # its checksum would be of the parts' checksums: read it back


def _check_own(is_retry: bool, name: str) -> None:
    """Raises Occupied, unless an earlier try of ours may have put the object there."""
    if not is_retry:
        raise Occupied(f"{name} exists already")


def _confirm(server: Server, name: str, upload: Upload, tag: str | None, found: str | None) -> None:
    """Compare what is there with the file, by a checksum that was not computed here.

    `tag` is that of the object we created; None: perhaps another's is there.
    """
    found = found or computed_checksum(server.call("head_object", Key=name, ChecksumMode="ENABLED"))
    if found is None:
        found = _text(bytes.fromhex(checksum(S3File(server, name, 0, None)).sha256))
    if found == _text(upload.sha256):
        return
    if tag is None:
        raise Occupied(f"{name} exists already")
    server.call("delete_object", Key=name, IfMatch=tag)
    raise Unavailable("The object store kept other bytes than it was given.")


def computed_checksum(answer: dict[str, Any]) -> str | None:
    """The SHA-256 in an answer, in base64. None where it is none of the whole object."""
    found: str | None = answer.get("ChecksumSHA256")
    is_of_parts = answer.get("ChecksumType") == "COMPOSITE" or "-" in (found or "")
    return None if is_of_parts else found


def in_hexadecimal(checksum: str) -> str:
    return base64.b64decode(checksum).hex()


def _about(name: str, upload: Upload) -> dict[str, Any]:
    known = _TYPES.get(name.rpartition(".")[2].lower())
    # Servers guess a type in place of "unknown" by the name: text/html would be a page of theirs.
    look = (
        {"ContentType": known}
        if known
        else {"ContentType": "application/octet-stream", "ContentDisposition": "attachment"}
    )
    return {
        **look,
        "CacheControl": "private, max-age=31536000, immutable",
        "Metadata": {"sha256": upload.sha256.hex()},
    }


def _headers(name: str, upload: Upload) -> dict[str, str]:
    """The same as it is sent."""
    about = _about(name, upload)
    return {_HEADERS[key]: value for key, value in about.items() if key in _HEADERS} | {
        "x-amz-meta-sha256": upload.sha256.hex(),
        "x-amz-checksum-sha256": _text(upload.sha256),
    }


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
