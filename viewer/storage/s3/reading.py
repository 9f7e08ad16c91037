"""Read an object in blocks, each a request of its own.

A stream that stays open would be closed by the server while a slow browser takes its time. A block
that breaks off is resumed where it ended, and only if the object is still the same.
"""

import contextlib
import io
import re

from botocore.exceptions import BotoCoreError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from viewer.storage.s3.client import Refused, Server
from viewer.storage.store import Unavailable

_BLOCK = 4 * 1024 * 1024  # bytes, of which a reader holds two at most
_PIECE = 256 * 1024  # bytes, of which at most one is fetched again after a break
_RESUMES = 3  # of a block
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class S3File(io.BufferedIOBase):
    """Some or all bytes of an object. The first block has been fetched once this exists."""

    def __init__(self, server: Server, name: str, start: int, length: int | None) -> None:
        """Raises Refused, also for what is missing, and Unavailable."""
        self._server = server
        self._name = name
        self._at = start
        self._tag: str | None = None
        self._block, self._used = b"", 0
        self.size = 0  # of the whole object
        if length == 0:
            self.size = server.call("head_object", Key=name)["ContentLength"]
            self._left = 0
            return
        wanted = _BLOCK if length is None else min(length, _BLOCK)
        try:
            self._block = self._fetch(wanted)
        except Refused as refused:
            if refused.status != 416:  # there is nothing at or behind `start`
                raise
            self.size = server.call("head_object", Key=name)["ContentLength"]
        left = max(0, self.size - start)
        self._left = left if length is None else min(length, left)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        pieces = []
        while wanted:
            if self._used == len(self._block):
                try:
                    self._block, self._used = self._fetch(min(_BLOCK, self._left)), 0
                except Refused as refused:
                    if refused.status in (404, 412, 416):
                        raise Unavailable("The file changed while it was read.") from None
                    raise
            piece = self._block[self._used : self._used + wanted]  # a whole block is not copied
            self._used += len(piece)
            self._left -= len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._block, self._used = b"", 0
        self._left = 0
        super().close()

    def _fetch(self, length: int) -> bytes:
        """The next `length` bytes of the object, or as many as there are."""
        found: list[bytes] = []
        for _ in range(1 + _RESUMES):
            ends_at = self._request(found, length)
            if sum(map(len, found)) == ends_at:
                self._at += ends_at
                return b"".join(found)
        raise Unavailable("The object store breaks off in the middle of a file.")

    def _request(self, found: list[bytes], length: int) -> int:
        """Add to `found` as much as comes of the block; how many bytes the block has in all."""
        first = self._at + sum(map(len, found))
        wanted = f"bytes={first}-{self._at + length - 1}"
        bodies: list[StreamingBody] = []

        def get() -> int:
            said, tag, body = self._server.get(self._name, wanted, self._tag)
            bodies.append(body)
            with contextlib.closing(body):
                given = _RANGE.fullmatch(said)
                if given is None or int(given[1]) != first:
                    raise Unavailable("The object store gives other bytes than it was asked for.")
                self.size, self._tag = int(given[3]), tag
                # It may break off: then the caller resumes.
                with contextlib.suppress(BotoCoreError, HTTPError, OSError):
                    while piece := body.read(_PIECE):
                        found.append(piece)
            return min(length, self.size - self._at)

        try:
            return self._server.within(get, length)
        except BaseException:
            # The deadline, or an alarm: the thread that still reads ends with the next byte.
            for body in bodies:
                with contextlib.suppress(AttributeError, ValueError, OSError):
                    body.set_socket_timeout(0.01)
            raise
