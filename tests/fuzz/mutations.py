"""Mutate a good input as damage and malice do: flips, cuts, copies, lying lengths, other parts.

With `random`, not with Hypothesis: fifty times as many inputs a second.
"""

import random
from collections.abc import Callable, Sequence

MOST_EDITS = 8
# Lengths and counts at which parsers fail.
_NUMBERS = (
    *(0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
)


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the seeds after some edits; now and then noise, or a seed as it is."""
    if chance.random() < 0.01:
        return chance.randbytes(chance.randrange(64))
    content = chance.choice(seeds)
    for _ in range(chance.randint(0, MOST_EDITS)):
        content = chance.choice(_EDITS)(content, seeds, chance)
    return content


def _place(content: bytes, chance: random.Random) -> int:
    """Often near the front, where headers are."""
    most = len(content) if chance.random() < 0.5 else min(len(content), 64)
    return chance.randint(0, most)


def _flip(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + bytes([chance.getrandbits(8)]) + content[at + 1 :]


def _cut(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + content[at + chance.choice((1, 2, 4, 16, 256)) :]


def _end(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    return content[: _place(content, chance)] if chance.random() < 0.3 else content[:-1]


def _repeat(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at, length = _place(content, chance), chance.randint(1, 64)
    return content[:at] + content[at : at + length] * chance.randint(2, 40) + content[at + length :]


def _insert(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + chance.randbytes(chance.randint(1, 24)) + content[at:]


def _number(content: bytes, _seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at, size = _place(content, chance), chance.choice((1, 2, 4, 8))
    value = (chance.choice(_NUMBERS) % 256**size).to_bytes(size, "big")
    return content[:at] + (value if chance.random() < 0.5 else value[::-1]) + content[at + size :]


def _splice(content: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(seeds)
    at, start = _place(content, chance), _place(other, chance)
    return content[:at] + other[start : start + chance.randint(1, 4096)] + content[at:]


_EDITS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip, _cut, _end, _repeat, _insert, _number, _splice,
)  # fmt: skip
