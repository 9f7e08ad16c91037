"""The checksum of a stored file, the one way to compute it."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from viewer.storage.store import Opened

_CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Checksum:
    """What all bytes of a file say."""

    size: int
    sha256: str
    head: bytes  # its first bytes, by which its type is known


def checksum(opened: Opened | BinaryIO, head_size: int = 0) -> Checksum:
    """Read an opened file to its end and close it. Takes a while: hold no transaction open.

    Raises Unavailable.
    """
    digest, size, head = hashlib.sha256(), 0, b""
    with opened as file:
        while chunk := file.read(_CHUNK):
            head = head or chunk[:head_size]
            digest.update(chunk)
            size += len(chunk)
    return Checksum(size, digest.hexdigest(), head)
