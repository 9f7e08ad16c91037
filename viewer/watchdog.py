"""Deadlines of what a process does, in memory that it shares with its supervisor.

A worker does many units of work in one process. Before each it writes the row's id and a deadline
into a slot, and clears the slot afterwards. The supervisor kills a process whose deadline has
passed: also one that hangs in C, where no signal is handled. What the slots hold when a process has
died tells its successor what it was at.

Between its units a process beats: one that is stopped, or waits for ever, is killed as well.
"""

import contextlib
import mmap
import struct
import threading
import time
import uuid
from collections.abc import Iterator

SLOTS = 16  # units at a time

BEAT_WITHIN = 300.0  # seconds; a worker waits out an outage of Redis for a minute at a time

_BEAT = struct.Struct("<d")  # when it beat last, on the monotonic clock (0: never)
_SLOT = struct.Struct("<d16sxxxxxxxx")  # deadline on the monotonic clock (0: free), id of a row
_NO_ROW = uuid.UUID(int=0)


class Watchdog:
    """Slots in anonymous memory, which a forked child shares with its parent."""

    def __init__(self) -> None:
        self.interrupted: list[uuid.UUID] = []  # rows at which an earlier process died
        self._memory = mmap.mmap(-1, _SLOT.size * SLOTS + _BEAT.size)
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watch(self, row_id: uuid.UUID, seconds: float) -> Iterator[None]:
        """Let the block take no longer than this. It works on this row."""
        with self._lock:
            slot = self._free.pop()
        self._write(slot, time.monotonic() + seconds, row_id)
        try:
            yield
        finally:
            self.beat()
            self._write(slot, 0.0, _NO_ROW)
            with self._lock:
                self._free.append(slot)

    def beat(self) -> None:
        """Say that this process goes on. From the first time on, it must within `BEAT_WITHIN`."""
        _BEAT.pack_into(self._memory, _SLOT.size * SLOTS, time.monotonic())

    def is_overdue(self) -> bool:
        moment = time.monotonic()
        beat: float = _BEAT.unpack_from(self._memory, _SLOT.size * SLOTS)[0]
        units = [deadline for deadline, _ in self._read() if deadline]
        if units:  # they have deadlines of their own, and no beat comes before they end
            return any(deadline < moment for deadline in units)
        return 0.0 < beat < moment - BEAT_WITHIN

    def rows(self) -> list[uuid.UUID]:
        """The rows that are worked on now."""
        return [row_id for deadline, row_id in self._read() if deadline]

    def clear(self) -> None:
        """After the process has died, before the next: note what it was at, and free the slots."""
        self.interrupted = self.rows()
        for slot in range(SLOTS):
            self._write(slot, 0.0, _NO_ROW)
        _BEAT.pack_into(self._memory, _SLOT.size * SLOTS, 0.0)

    def _write(self, slot: int, deadline: float, row_id: uuid.UUID) -> None:
        _SLOT.pack_into(self._memory, slot * _SLOT.size, deadline, row_id.bytes)

    def _read(self) -> list[tuple[float, uuid.UUID]]:
        return [
            (deadline, uuid.UUID(bytes=row_id))
            for deadline, row_id in _SLOT.iter_unpack(self._memory[: _SLOT.size * SLOTS])
        ]
