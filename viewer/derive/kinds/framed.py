"""Recognise sounds and films that have no signature: only frames that tell where the next begins.

Recorders cut such streams anywhere, and telephone systems fill up their beginning with zeros, so
the first frame need not stand at byte 0. What follows junk must be a longer chain of frames alike.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_JUNK = 4096  # bytes before the first frame: more than the rest of a frame that was cut
_CHAIN = 3  # frames in a row at the very beginning; one alone is chance
_CHAIN_BEHIND_JUNK = 5


class Frame(NamedTuple):
    size: int  # bytes
    alike: bytes  # what all frames of one recording have in common
    mime_type: str


def mime_type(head: bytes) -> str | None:
    """What the file that begins with `head` is, if a stream of frames."""
    return _mpeg_system(head) or _audio(head) or _gsm(head)


def begins_plainly(head: bytes, mime_type: str) -> bool:
    """Whether a file of a kind that browsers play begins as they expect it."""
    if mime_type in {"audio/mpeg", "audio/aac"}:
        start = behind_tags(head)
        frame = _frame(head[start : start + 6])
        return start >= len(head) or (frame is not None and frame.mime_type == mime_type)
    signature = {"audio/wav": b"RIFF", "audio/flac": b"fLaC"}.get(mime_type, b"")
    return head.startswith(signature)


def has_index(source: BinaryIO) -> bool:
    """Whether the first frame of this MP3 is an index of the others, in one of two formats."""
    source.seek(0)
    start = behind_tags(source.read(_TAG))
    source.seek(start)
    first = source.read(200)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


_TAG = 64 * 1024  # bytes; tags stand one behind the other in so many


def _audio(head: bytes) -> str | None:
    """MP3 and AAC."""
    start = behind_tags(head)
    if start >= len(head) and start:
        return "audio/mpeg"  # a tag with a large cover: the frames are beyond our sight
    if start and head.startswith(b"fLaC", start):
        return "audio/flac"
    if _frames_follow(head, start, _CHAIN):
        frame = _frame(head[start : start + 6])
        return frame.mime_type if frame else None
    behind_zeros = len(head) - len(head[start:].lstrip(b"\0"))
    for first in (start, behind_zeros):
        for at in _syncs(head, first):
            frame = _frame(head[at : at + 6])
            if frame and _frames_follow(head, at, _CHAIN_BEHIND_JUNK, frame.alike):
                return frame.mime_type
    return "audio/mpeg" if start else None


def behind_tags(head: bytes) -> int:
    """Where the first byte behind the ID3 tags is."""
    at = 0
    while head[at : at + 3] == b"ID3" and len(head) >= at + 10:
        # Seven bits a byte, so that no size looks like a frame.
        size = sum(
            (byte & 0x7F) << shift
            for byte, shift in zip(head[at + 6 : at + 10], (21, 14, 7, 0), strict=True)
        )
        at += 10 + size
    return at


def _syncs(head: bytes, start: int) -> Iterator[int]:
    """Where a frame may begin."""
    at = head.find(b"\xff", start)
    while 0 <= at < start + _JUNK:
        yield at
        at = head.find(b"\xff", at + 1)


def _frames_follow(head: bytes, at: int, count: int, alike: bytes | None = None) -> bool:
    """So many frames in a row, or fewer that end exactly with the file."""
    for seen in range(count):
        if seen > 1 and at == len(head):
            return True
        frame = _frame(head[at : at + 6])
        if frame is None or (alike is not None and frame.alike != alike):
            return seen > 0 and at == len(head)
        at += frame.size
    return True


def _frame(header: bytes) -> Frame | None:
    return _mpeg_frame(header) or _adts_frame(header)


# Kilobits a second, by (is MPEG 1, layer).
_KILOBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mpeg_frame(header: bytes) -> Frame | None:
    """The frame of MPEG audio with this header, None if it is not one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATES or layer == 4 or not 0 < bit_rate < 15 or sample_rate == 3:
        return None
    is_first = version == 3
    bits = _KILOBITS[is_first, layer][bit_rate - 1] * 1000
    rate, padding = _RATES[version][sample_rate], header[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // rate + padding) * 4
    else:
        size = (72 if layer == 3 and not is_first else 144) * bits // rate + padding
    alike = bytes((header[1] & 0xFE, header[2] & 0x0C))
    return Frame(size, alike, "audio/mpeg" if layer == 3 else "audio/mp2")


def _adts_frame(header: bytes) -> Frame | None:
    """The AAC frame with this header, None if it is not one."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    if header[2] >> 2 & 15 > 12:  # no such sampling rate
        return None
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    alike = bytes((header[1], header[2] & 0xFD, header[3] & 0xC0))
    return Frame(size, alike, "audio/aac") if size > 7 else None


_PACKETS = 5  # of a transport stream, each of which begins with "G"


def _mpeg_system(head: bytes) -> str | None:
    """The two containers of MPEG: programs on discs, and streams as they are broadcast."""
    if head.startswith(b"\0\0\1\xba") and len(head) > 4:
        is_pack = head[4] & 0xC4 == 0x44 or head[4] & 0xF1 == 0x21
        return "video/mpeg" if is_pack else None
    is_stream = any(
        _packets_follow(head, start, size)
        for size, lead in ((188, 0), (192, 4))
        for start in ([lead] if head[lead : lead + 1] == b"G" else _first_packets(head, size))
    )
    return "video/mp2t" if is_stream else None


def _first_packets(head: bytes, size: int) -> Iterator[int]:
    """Where the first packet may begin if the one before it was cut."""
    at = head.find(b"G")
    while 0 <= at < size:
        yield at
        at = head.find(b"G", at + 1)


def _packets_follow(head: bytes, start: int, size: int) -> bool:
    count = min(_PACKETS * 3, (len(head) - start - 4) // size + 1)
    headers = [head[at : at + 4] for at in range(start, start + count * size, size)]
    return count >= _PACKETS and all(
        # An error mark, a scrambled packet, or one with nothing in it: no camera writes that.
        header[0] == 0x47 and not header[1] & 0x80 and not header[3] & 0xC0 and header[3] & 0x30
        for header in headers
    )


_GSM_FRAME = 33  # bytes


def _gsm(head: bytes) -> str | None:
    """GSM 6.10 as telephone systems record it: each frame begins with the same four bits."""
    starts = head[: len(head) - len(head) % _GSM_FRAME : _GSM_FRAME]
    is_gsm = len(starts) >= 25 and all(byte >> 4 == 0xD for byte in starts)
    return "audio/x-gsm" if is_gsm else None
