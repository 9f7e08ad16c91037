"""One client's connection: what came in of a request, and what is still to go out of its response.

Nothing here waits. `receive` takes what came until a request is whole; `Outbox.flush` sends what
the client takes now. gunicorn parses: only where a request ends is found out here, so that no
thread has to read for it.
"""

import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import IO, Any

from gunicorn.config import Config
from gunicorn.http import RequestParser
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize, LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

MAX_HEAD = 64 * 1024  # bytes of request line and headers together
SMALL_BODY = 64 * 1024  # bytes; larger bodies share a bounded room
MAX_CHUNKS = 8_192  # of a chunked body; each costs time, however few bytes it has
MAX_LINE = 4_096  # bytes of a chunk's size line, and of all trailers

_READ = 8 * 1024  # bytes, the most that a parser gets without asking for more
_SEND = 256 * 1024  # bytes, the most that are copied together for one system call
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{1,16}")
_END_OF_HEAD = b"\r\n\r\n"

Headers = list[tuple[str, str]]  # names in capitals
# How many bytes of body are read, by method, path and headers.
BodyLimit = Callable[[str, str, Headers], int]


class State(Enum):
    """What a connection waits for."""

    IDLE = auto()  # a request, of which nothing came yet
    HEAD = auto()
    ROOM = auto()  # room in memory for a large body
    BODY = auto()
    ANSWER = auto()  # a thread that answers, or that goes on sending
    CLIENT = auto()  # a client that does not take the rest of the response yet
    CLOSE = auto()  # the client's end of a connection that we have closed


class _Received(Unreader):  # type: ignore[misc]
    """Bytes that came in, read by gunicorn's parser. Its end is not the connection's end."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        if data:
            self._parts.append(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not self._parts:
            return b""
        size = max(_READ, size_hint or 0)
        first = self._parts.popleft()
        if len(first) > size:
            self._parts.appendleft(first[size:])
        return first[:size]

    def take_all(self) -> bytes:
        rest = self.take_buffered() + b"".join(self._parts)
        self._parts.clear()
        return bytes(rest)


class _ChunkedEnd:
    """Find the end of a chunked body. Most of its grammar is left to the parser."""

    def __init__(self) -> None:
        self._size = 0  # bytes of content in all chunks so far, the present one included
        self._chunks = 0
        self._left = 0  # bytes of this chunk, with its line end
        self._line = bytearray()
        self._trailers: int | None = None  # their bytes, once the last chunk came

    def feed(self, data: bytes) -> bool:
        """Whether the body is whole. Raises InvalidChunkSize for what no parser would take."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at)
            self._line += data[at : len(data) if end < 0 else end]
            if len(self._line) > MAX_LINE:
                raise InvalidChunkSize(b"a long line")
            if end < 0:
                return False
            at = end + 1
            line = bytes(self._line).rstrip(b"\r")
            self._line.clear()
            if self._ends_with(line):
                return True
        return False

    def _ends_with(self, line: bytes) -> bool:
        if self._trailers is not None:
            self._trailers += len(line)
            if self._trailers > MAX_LINE:
                raise InvalidChunkSize(b"long trailers")
            return not line
        digits = line.partition(b";")[0].strip()
        if not _HEXADECIMAL.fullmatch(digits):
            raise InvalidChunkSize(digits[:20])
        size = int(digits, 16)
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise InvalidChunkSize(b"too many chunks")
        if size == 0:
            self._trailers = 0
        else:
            self._size += size
            self._left = size + 2
        return False

    @property
    def came(self) -> int:
        """Bytes of content that came, with two more at a chunk's end."""
        return self._size - self._left


class Outbox:
    """What is to be sent, in the place of the socket that gunicorn's response writes to."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parts: deque[bytes | memoryview | _FilePart] = deque()
        self.waiting = 0  # bytes that are not sent yet
        self.sent = 0  # bytes of this response

    def sendall(self, data: bytes) -> None:
        """Add bytes. Nothing is sent before `flush`, so that head and body go together."""
        if data:
            self._parts.append(data)
            self.waiting += len(data)

    def gettimeout(self) -> float:
        """As a socket that does not block says it: gunicorn asks before it sends an error."""
        return 0.0

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> None:
        """Add a part of a file, which the kernel copies."""
        self._parts.append(_FilePart(file.fileno(), offset, count))
        self.waiting += count

    def flush(self, most: int) -> bool:
        """Send until all or `most` bytes are gone: False if the client takes no more now.

        Raises OSError if the client has gone.
        """
        end = self.sent + most
        while self._parts and self.sent < end:
            first = self._parts[0]
            try:
                if isinstance(first, _FilePart):
                    count = first.send(self._sock, end - self.sent)
                    is_done = not first.count
                else:
                    block = self._small_parts()
                    count = self._sock.send(block)
                    is_done = count == len(block)
                    if not is_done:
                        self._parts[0] = memoryview(block)[count:]
            except BlockingIOError:
                return False
            self.sent += count
            self.waiting -= count
            if is_done:
                self._parts.popleft()
        return True

    def _small_parts(self) -> bytes | memoryview:
        """Join the first parts into one, as many as one system call should send."""
        joined: list[bytes | memoryview] = []
        size = 0
        while self._parts and size < _SEND:
            part = self._parts[0]
            if isinstance(part, _FilePart):
                break
            joined.append(part)
            size += len(part)
            self._parts.popleft()
        block = joined[0] if len(joined) == 1 else b"".join(joined)
        self._parts.appendleft(block)
        return block


class _FilePart:
    def __init__(self, descriptor: int, offset: int, count: int) -> None:
        self._descriptor, self._offset, self.count = descriptor, offset, count

    def send(self, sock: socket.socket, most: int) -> int:
        sent = os.sendfile(sock.fileno(), self._descriptor, self._offset, min(self.count, most))
        if sent == 0:  # the file has become shorter: the response cannot be completed
            raise ConnectionAbortedError
        self._offset += sent
        self.count -= sent
        return sent


class Connection:
    """A client's connection. Belongs to the worker's loop, or to the one thread that answers."""

    def __init__(
        self, cfg: Config, sock: socket.socket, client: Any, server: Any, moment: float
    ) -> None:
        self.sock, self.client, self.server = sock, client, server
        self.state = State.IDLE
        self.since = moment  # when this state began
        self.deadline = 0.0
        self.reading_since = 0.0  # when its client first did not take a response at once
        self.is_watched = False
        self.lane = ""
        self.room = 0  # bytes of the shared room that this body has
        self.request: Request | None = None
        self.error: Exception | SystemExit | None = None  # in place of a request
        self.body_size = 0  # bytes that the head announces; of a chunked one, at most
        self.outbox = Outbox(sock)
        self.response: Any = None
        self.body: Iterator[bytes] | None = None  # of the response
        self.close_body: Callable[[], None] = _nothing
        self._received = _Received()
        self._parser = RequestParser(cfg, iter(()), client)
        self._parser.unreader = self._received
        self._head = bytearray()
        self._raw = 0  # bytes of the body that came
        self._wanted = 0  # bytes of the body that are waited for
        self._chunked: _ChunkedEnd | None = None

    def receive(self, data: bytes, limit_of: BodyLimit) -> bool:
        """Take what came. Returns whether there is a request to answer, or an error."""
        if self.request is not None:
            return self._receive_body(data)
        searched = max(0, len(self._head) - 3)
        self._head += data
        if self._head.find(_END_OF_HEAD, searched) < 0:
            if len(self._head) > MAX_HEAD:
                self.error = LimitRequestHeaders("the head is too large")
            return self.error is not None
        self._received.feed(bytes(self._head))
        self._head.clear()
        try:
            self.request = next(self._parser)
        except Exception as error:  # noqa: BLE001 - the worker answers it
            self.error = error
            return True
        return self._begin_body(limit_of)

    def _begin_body(self, limit_of: BodyLimit) -> bool:
        request = self.request
        assert request is not None  # noqa: S101 - for the type checker
        limit = limit_of(request.method, request.path, request.headers)
        reader = request.body.reader
        came = self._received.take_all()
        if isinstance(reader, ChunkedReader):
            self._chunked, self.body_size = _ChunkedEnd(), limit
            self._wanted = limit
        elif isinstance(reader, LengthReader):
            self.body_size = self._wanted = reader.length
        if self.body_size > limit:  # the application refuses it by its length alone
            self._received.feed(came)
            request.must_close = True
            request._expected_100_continue = False
            return True
        return self._receive_body(came)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits to be told that its body is welcome. True once."""
        request = self.request
        wants = request is not None and request._expected_100_continue
        if request is not None and wants:
            request._expected_100_continue = False
        return bool(wants)

    def _receive_body(self, data: bytes) -> bool:
        self._received.feed(data)
        self._raw += len(data)
        if self._chunked is None:
            return self._raw >= self._wanted
        try:
            is_whole = self._chunked.feed(data)
        except InvalidChunkSize as error:
            self.error = error
            return True
        if self._chunked.came > self._wanted + SMALL_BODY:  # the application refuses it
            assert self.request is not None  # noqa: S101 - for the type checker
            self.request.must_close = True
            return True
        return is_whole

    def finish_body(self) -> None:
        """Close the body of the response. Idempotent. Raises what the application raises."""
        close, self.close_body = self.close_body, _nothing
        close()

    def next_request(self) -> bytes:
        """Forget the request that was answered. Returns what came of the next one."""
        rest = self._received.take_all()
        self.request = self.response = self.body = None
        self.close_body = _nothing
        self._chunked, self._raw, self._wanted, self.body_size = None, 0, 0, 0
        self.outbox.sent, self.reading_since = 0, 0.0
        return rest


def _nothing() -> None:
    """There is nothing to close."""
