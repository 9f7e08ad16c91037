"""Read a file of another host while it is sent."""

import io

from viewer.storage.child import Running
from viewer.storage.store import Unavailable


class SSHFile(io.BufferedIOBase):
    """Bytes of a file on another host."""

    def __init__(self, running: Running, size: int, length: int) -> None:
        self.size = size
        self._running = running
        self._left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        found = self._running.read(wanted)
        if len(found) < wanted:
            self._running.finish()
            raise Unavailable("The connection breaks off in the middle of a file.")
        self._left -= len(found)
        return found

    def close(self) -> None:
        self._running.close()
        super().close()
