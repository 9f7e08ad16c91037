"""What the decoding of one file may cost: by its kind, and by its size, as length needs time.

An hour of AMR has 2 to 6 MB, and takes 30 s of a processor; an hour of a phone's film, minutes.
Size, unlike the length that a header claims, is known and cannot lie: a small hostile file costs
little. A file that is longer yet has its duration and what else was made by then (`budget`).
"""

from dataclasses import dataclass

from viewer.derive.kinds.sniff import MediaType
from viewer.derive.types import Limits

_MEGABYTE = 1_000_000
# The copy of a film may be as large as the film, and one of a sound larger: it is MP3.
_ROOM = 256 * 1024**2  # bytes, at least


@dataclass(frozen=True, slots=True)
class _Allowance:
    """Seconds of computing time: for any file, for each megabyte, and at most."""

    base: int
    per_megabyte: int
    most: int

    def limits(self, size: int) -> Limits:
        cpu = min(self.base + self.per_megabyte * size // _MEGABYTE, self.most)
        # Decoders are nice: beside a busy server they wait. Encoders use two processors.
        return Limits(
            cpu_seconds=cpu,
            wall_seconds=cpu * _WALL,
            file_bytes=max(_ROOM, size + size // 4),
        )


_WALL = 1.5  # seconds by the clock for each of computing time
_PICTURE = Limits()  # one that takes long is an attack
_TRACKS: dict[str, _Allowance] = {
    # 30 s for an hour of AMR or Opus, on the machine of docs/performance.md; so that eight hours
    # of the thinnest (17 MB) have twice what they need.
    "audio": _Allowance(base=60, per_megabyte=25, most=900),
    "video": _Allowance(base=120, per_megabyte=20, most=1800),
}

LONGEST_SECONDS = max(one.most for one in _TRACKS.values()) * _WALL  # by the clock


def limits_of(media_type: MediaType, size: int | None) -> Limits:
    """What a file of this type and size in bytes may cost."""
    allowance = _TRACKS.get(media_type)
    return allowance.limits(size or 0) if allowance else _PICTURE
