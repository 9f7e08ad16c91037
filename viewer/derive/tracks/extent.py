"""How long a film really is, and whether all of it is there: headers are wrong, or unfinished."""

from __future__ import annotations  # PyAV's Packet takes its type only in annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Stream

from viewer.derive.kinds.sniff import Kind
from viewer.derive.tracks.streams import film_of, opened, sound_of, told_length

# Kinds whose header is written when all is there; others estimate.
_EXACT = frozenset({"video/webm", "video/x-matroska", "video/x-msvideo", "video/x-ms-wmv"})
_LONGEST = 24 * 3600.0  # seconds; a header that says more knows nothing


@dataclass(frozen=True, slots=True)
class Extent:
    seconds: float
    is_cut: bool

    @classmethod
    def by_index(cls, container: InputContainer, source: BinaryIO) -> Extent | None:
        """By the index of an MP4, which says where each frame lies; None without a whole one.

        Reading all packets of a large film takes seconds, and this a millisecond.
        """
        if not container.format.name.startswith("mov"):
            return None
        size, told = source.seek(0, os.SEEK_END), told_length(container)
        tracks = [track for track in (film_of(container), sound_of(container)) if track]
        ends = [_end_of(track, size) for track in tracks]
        if not ends or None in ends:
            return None
        known = [end for end in ends if end is not None]
        there = max(end for end, _ in known)
        is_cut = any(is_cut for _, is_cut in known)
        # A little more than the index knows is right: the last picture stands still for a while.
        is_wrong = is_cut or told is None or told - there > max(10.0, there / 2)
        return cls(there if told is None or is_wrong else told, is_cut)

    @classmethod
    def by_packets(cls, source: BinaryIO, kind: Kind, told: float | None) -> Extent:
        """By where the last packet ends. A recorder in a browser never writes the length."""
        ends, is_cut = 0.0, False
        with opened(source, kind) as container:
            start = max(0, container.start_time or 0) / av.time_base
            try:
                for packet in container.demux():
                    moment = packet.dts if packet.pts is None else packet.pts
                    if moment is not None and packet.time_base is not None:
                        end = (moment + (packet.duration or 0)) * packet.time_base
                        ends = max(ends, float(end) - start)
            except MemoryError:
                raise
            except av.FFmpegError:
                is_cut = True
        is_cut = is_cut or lacks_bytes(source)
        if kind.mime_type in _EXACT and told is not None and told < _LONGEST:
            is_cut = is_cut or told - ends > max(1.0, told / 50)
        return cls(ends, is_cut)


def lacks_bytes(source: BinaryIO) -> bool:
    """Whether a chunked container (WAV, AIFF, AVI, AU) is shorter than its header says by more than
    a mistake of recorders. They write 0 or the largest number where they never knew.
    """
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(24)
    if head[:4] == b"RIFF":
        told = 8 + int.from_bytes(head[4:8], "little")
    elif head[:4] == b"FORM":
        told = 8 + int.from_bytes(head[4:8], "big")
    elif head[:4] == b".snd":
        told = int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    else:
        return False
    return told < _UNKNOWN and told - size > max(1024, told // 100)


_UNKNOWN = 0x7FFF0000  # bytes; more is written only for "to the end"


def _end_of(track: Stream, size: int) -> tuple[float, bool] | None:
    """When the last frame of this track ends that lies within `size` bytes, and whether one does
    not; None without an index.
    """
    index = track.index_entries
    count = len(index)
    if not count or track.time_base is None:
        return None
    whole = count
    if index[count - 1].pos + index[count - 1].size > size:
        whole = bisect_right(range(count), size, key=lambda n: index[n].pos + index[n].size)
    if not whole:
        return 0.0, True
    last = index[whole - 1].timestamp
    step = last - index[whole - 2].timestamp if whole > 1 else 0
    before = min(index[0].timestamp, 0)  # where frames refer to later ones, decoding begins early
    return float((last + step - before) * track.time_base), whole < count
