"""Try every sound and film of a folder through sniff, derive and clean, and set it beside FFmpeg.

    python -m scripts.corpus_sounds FOLDER

Prints Markdown: a table of outcomes, then each file on which the readers disagree. The other reader
is FFmpeg left to itself: it guesses the format, uses any decoder, and decodes every track whole.
"""

from __future__ import annotations  # PyAV's Packet takes its type only in annotations

import concurrent.futures
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from viewer import derive

_NEAR = 0.3  # seconds by which two readers may differ on a duration, and a part in fifty


@dataclass(frozen=True, slots=True)
class Alone:
    """What FFmpeg makes of it by itself."""

    seconds: float
    errors: int
    has_film: bool
    codecs: str

    @property
    def plays(self) -> bool:
        return self.seconds > 0 or self.has_film


@dataclass(frozen=True, slots=True)
class Outcome:
    path: Path
    kind: str
    derived: str  # as sent, copy, no copy, incomplete, broken, unreadable, killed, not recognised
    cleaned: str  # cleaned, unreadable, killed, -
    seconds: float | None
    reason: str
    alone: Alone | None

    @property
    def disagreement(self) -> str:
        if "killed" in (self.derived, self.cleaned):
            return "killed"
        if self.alone is None or not self.alone.plays:
            return ""
        if self.derived not in ("as sent", "copy", "incomplete"):
            return "FFmpeg plays it"
        if self.derived == "incomplete" and not self.alone.errors:
            return "FFmpeg plays it without an error"
        apart = abs((self.seconds or 0) - self.alone.seconds)
        if not self.alone.has_film and apart > max(_NEAR, self.alone.seconds / 50):
            return f"FFmpeg finds {self.alone.seconds:.1f} s"
        return ""


def main(folder: Path) -> None:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool, derive.warm():
        outcomes = [one for one in pool.map(_try, paths) if one is not None]
    for line in _report(outcomes, folder):
        print(line)


def _try(path: Path) -> Outcome | None:
    """What becomes of it; None for what is neither sound nor film to anybody."""
    with path.open("rb") as file:
        kind = derive.sniff(file.read(derive.HEAD_SIZE))
    alone = _alone(path) if kind.media_type != "photo" else None
    if kind.media_type not in ("audio", "video"):
        if alone is None or not alone.plays or kind.mime_type != "application/octet-stream":
            return None
        return Outcome(path, kind.mime_type, "not recognised", "-", None, "", alone)
    limits = derive.limits_of(kind.media_type, path.stat().st_size)
    with tempfile.TemporaryDirectory() as into:
        derived, seconds, reason = _derived(path, kind, Path(into), limits)
        cleaned = _cleaned(path, kind, Path(into), limits)
    return Outcome(path, kind.mime_type, derived, cleaned, seconds, reason, alone)


def _derived(
    path: Path, kind: derive.Kind, into: Path, limits: derive.Limits
) -> tuple[str, float | None, str]:
    try:
        found = derive.derive(path, kind.mime_type, into, limits)
    except derive.Broken as broken:
        return "broken", None, broken.reason
    except derive.Unreadable as unreadable:
        return "unreadable", None, unreadable.reason
    except derive.DeriveError as killed:
        return "killed", None, killed.reason
    reason = found.problem or ""
    if found.is_incomplete:
        return "incomplete", found.duration_seconds, reason
    if found.playable:
        return "copy", found.duration_seconds, reason
    return "as sent" if found.is_playable else "no copy", found.duration_seconds, reason


def _cleaned(path: Path, kind: derive.Kind, into: Path, limits: derive.Limits) -> str:
    try:
        derive.clean(path, kind.mime_type, into, limits)
    except derive.Unreadable:
        return "by its copy"
    except derive.DeriveError:
        return "killed"
    return "as sent"


def _alone(path: Path) -> Alone | None:
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, ValueError):
        return None
    seconds, errors, has_film = 0.0, 0, False
    with container:
        tracks = [*container.streams.audio[:1], *container.streams.video[:1]]
        codecs = ", ".join(track.codec_context.name for track in tracks if track.codec_context)
        if not tracks:
            return None
        for packet in _packets(container, tracks):
            try:
                frames = packet.decode() if packet is not None else []
            except (av.FFmpegError, ValueError):
                packet, frames = None, []
            errors += packet is None
            for frame in frames:
                if isinstance(frame, AudioFrame):
                    seconds += frame.samples / frame.sample_rate
                else:
                    has_film = True
    return Alone(seconds, errors, has_film, codecs)


def _packets(container: InputContainer, tracks: list[Stream]) -> Iterator[Packet[Stream] | None]:
    """The packets; at last None if the file breaks off."""
    try:
        yield from container.demux(*tracks)
    except av.FFmpegError:
        yield None


def _report(outcomes: list[Outcome], folder: Path) -> Iterator[str]:
    yield f"{len(outcomes)} sounds and films.\n"
    yield "| kind | files | derived | shared |"
    yield "|---|---:|---|---|"
    for kind in sorted({one.kind for one in outcomes}):
        of_kind = [one for one in outcomes if one.kind == kind]
        derived, cleaned = (
            ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())
            for words in ([o.derived for o in of_kind], [o.cleaned for o in of_kind])
        )
        yield f"| {kind} | {len(of_kind)} | {derived} | {cleaned} |"
    yield "\n| disagreement | file | kind | derived | seconds | reason | FFmpeg by itself |"
    yield "|---|---|---|---|---:|---|---|"
    for one in outcomes:
        if one.disagreement and one.alone is not None:
            alone = f"{one.alone.seconds:.1f} s, {one.alone.errors} errors, {one.alone.codecs}"
            yield (
                f"| {one.disagreement} | {one.path.relative_to(folder)} | {one.kind}"
                f" | {one.derived} | {one.seconds or 0:.1f} | {one.reason} | {alone} |"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
