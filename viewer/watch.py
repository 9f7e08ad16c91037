"""What a worker is at, and until when: told through shared memory to whom supervises it.

A worker runs many units of work in one process, each on a row. Before a unit it writes the row's id
and a deadline into a slot, and clears the slot after it. The supervisor kills the process of a slot
that is overdue: also one that hangs in C, where no signal is handled. What slots still hold when a
process has died tells the next one what its forerunner was at.
"""

import contextlib
import mmap
import struct
import threading
import time
import uuid
from collections.abc import Iterator

_SLOT = struct.Struct("<d16sxxxxxxxx")  # deadline on the monotonic clock (0: idle), id of a row
SLOTS = 16  # units at a time


class Watch:
    """Slots in memory that a forked process shares with its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOT.size * SLOTS)
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def at(self, row_id: uuid.UUID, seconds: float) -> Iterator[None]:
        """Say that this thread is at this row, and for how long it may be."""
        with self._lock:
            slot = self._free.pop()
        self._write(slot, time.monotonic() + seconds, row_id)
        try:
            yield
        finally:
            self._write(slot, 0.0, uuid.UUID(int=0))
            with self._lock:
                self._free.append(slot)

    def is_overdue(self) -> bool:
        moment = time.monotonic()
        return any(0.0 < deadline < moment for deadline, _ in self._read())

    def left(self) -> list[uuid.UUID]:
        """The rows that a process was at when it died. Call it in the next one, at its start."""
        found = [row_id for deadline, row_id in self._read() if deadline]
        for slot in range(SLOTS):
            self._write(slot, 0.0, uuid.UUID(int=0))
        return found

    def __str__(self) -> str:
        return ", ".join(str(row_id) for deadline, row_id in self._read() if deadline) or "idle"

    def _write(self, slot: int, deadline: float, row_id: uuid.UUID) -> None:
        _SLOT.pack_into(self._memory, slot * _SLOT.size, deadline, row_id.bytes)

    def _read(self) -> list[tuple[float, uuid.UUID]]:
        return [
            (deadline, uuid.UUID(bytes=row_id))
            for deadline, row_id in _SLOT.iter_unpack(self._memory[:])
        ]
