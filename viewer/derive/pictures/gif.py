"""Take out of a GIF what is not picture: comments, texts, and what programs note of themselves.

The pictures, their times and how often they are to be repeated stay, bit for bit: it still moves.
"""

from viewer.derive.types import Unreadable

_STRANGE = "The picture is built in a way that we cannot clean."
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_TIMES, _PROGRAM, _TEXT = 0xF9, 0xFF, 0x01  # a text drawn as a picture, which no browser shows
_REPEATS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def cleaned(picture: bytes) -> list[bytes]:
    """The pieces of the clean file. Raises Unreadable."""
    if len(picture) < 13:
        raise Unreadable(_STRANGE)
    at = 13 + _colours(picture[10])
    pieces, times, has_image = [picture[:at]], b"", False
    while at < len(picture) and picture[at] != _END:
        start, kind = at, picture[at]
        if kind == _EXTENSION and at + 2 <= len(picture):
            label = picture[at + 1]
            blocks, at = _blocks(picture, at + 2)
            if label == _TIMES:
                times = picture[start : start + 2] + blocks
            elif label == _PROGRAM:
                pieces.append(_repeats(blocks))
            elif label == _TEXT:
                times = b""
        elif kind == _IMAGE and at + 11 <= len(picture):
            data = at + 10 + _colours(picture[at + 9]) + 1
            if data > len(picture):
                break  # cut off within its colours: nothing of it can be shown
            blocks, at = _blocks(picture, data)
            pieces += [times, picture[start:data], blocks]
            times, has_image = b"", True
        elif kind == 0:  # filling, which decoders skip
            at += 1
        else:
            break  # no block: what follows is no picture
    if not has_image:
        raise Unreadable(_STRANGE)
    return [*pieces, bytes([_END])]


def _colours(flags: int) -> int:
    """Bytes of the table of colours that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(picture: bytes, at: int) -> tuple[bytes, int]:
    """The blocks from here to their end, and where that is; cut off, as far as they go."""
    found = []
    while at < len(picture) and picture[at]:
        block = picture[at + 1 : at + 1 + picture[at]]
        found.append(bytes([len(block)]) + block if block else b"")
        at += 1 + picture[at]
    return b"".join(found) + b"\0", at + 1


def _repeats(blocks: bytes) -> bytes:
    """How often it is shown, and nothing else of an application's extension."""
    name, count = blocks[1:12], blocks[12:16]
    if blocks[:1] != b"\x0b" or name not in _REPEATS or count[:2] != b"\3\1" or len(count) < 4:
        return b""
    return b"\x21\xff" + blocks[:16] + b"\0"
