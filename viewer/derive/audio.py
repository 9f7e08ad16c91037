"""Measure a recording's duration and waveform, and make a copy that every browser plays.

The copy is MP3: the one format that every browser decodes by itself (builds of Chromium and
Firefox without licensed codecs have no AAC), that can be played before it has arrived whole,
and whose constant bit rate lets a player seek without an index.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer

from viewer.derive import transcode
from viewer.derive.sniff import KINDS, Kind
from viewer.derive.streams import opened, the_sound
from viewer.derive.types import Broken, Derived, Limits

PEAKS = 200

# What browsers play depends on container and codec; whatever is not here gets a copy.
_PLAYED = {
    "audio/mpeg": {"mp3", "mp3float"},
    "audio/mp4": {"aac", "mp3", "mp3float"},
    "audio/aac": {"aac"},
    "audio/flac": {"flac"},
    "audio/wav": {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"},
    "audio/webm": {"opus", "libopus", "vorbis"},
}


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield up to three answers: duration by its header; true duration and peaks; the copy."""
    with opened(source, kind) as container:
        track = the_sound(container)
        codec = track.codec_context.name
        told = container.duration / av.time_base if container.duration else None
    derived = Derived(mime_type=kind.mime_type, media_type="audio", duration_seconds=told)
    if told is not None:
        yield derived

    heard = _listen(source, kind)
    derived = replace(
        derived,
        duration_seconds=round(heard.seconds, 3),
        peaks=heard.peaks(),
        is_incomplete=heard.is_incomplete,
    )
    yield derived

    if codec not in _PLAYED.get(kind.mime_type, ()):
        yield _with_copy(derived, source, kind, into)


def without_picture(kind: Kind) -> Kind:
    """The kind of a video container that holds only sound."""
    return KINDS.get(kind.mime_type.replace("video/", "audio/"), KINDS["audio/mp4"])


_RATE = 8000  # enough for a picture of loudness
_STEP = 80  # samples in one entry of `loudest`: 10 ms


@dataclass(slots=True)
class _Heard:
    seconds: float = 0.0
    loudest: "array[int]" = field(default_factory=lambda: array("H"))
    is_incomplete: bool = False

    def peaks(self) -> list[int]:
        """The loudest moment of each of 200 equal parts; the loudest of all is 100.

        A recording whose loudest moment is a whisper (1 % of the scale) stays low.
        """
        if not self.loudest:
            return [0] * PEAKS
        top = max(*self.loudest, 328)
        count = len(self.loudest)
        cuts = [(n * count // PEAKS, max((n + 1) * count // PEAKS, 1)) for n in range(PEAKS)]
        return [
            round(100 * max(self.loudest[min(start, end - 1) : end]) / top) for start, end in cuts
        ]


def _listen(source: BinaryIO, kind: Kind) -> _Heard:
    """Decode all of it: headers of AMR, AAC, and MP3 of varying bit rate do not know or lie."""
    heard, rest = _Heard(), array("h")
    resampler = AudioResampler("s16", "mono", _RATE)
    with opened(source, kind) as container:
        track = the_sound(container)
        try:
            for packet in container.demux(track):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    heard.is_incomplete = True
                    continue
                for frame in frames:
                    heard.seconds += frame.samples / frame.sample_rate
                    for piece in resampler.resample(frame):
                        rest.frombytes(bytes(piece.planes[0])[: piece.samples * 2])
                    whole = len(rest) - len(rest) % _STEP
                    for at in range(0, whole, _STEP):
                        part = rest[at : at + _STEP]
                        heard.loudest.append(max(max(part), -min(part)))
                    del rest[:whole]
        except MemoryError:
            raise
        except av.FFmpegError:
            heard.is_incomplete = True
    if not heard.seconds:
        raise Broken("The recording is damaged or incomplete: nothing in it plays.")
    return heard


def _with_copy(derived: Derived, source: BinaryIO, kind: Kind, into: Path) -> Derived:
    return transcode.write_playable(
        derived, into, ("mp3", "audio/mpeg"), lambda: opened(source, kind), _rewrite
    )


def _rewrite(container: InputContainer, out: OutputContainer) -> None:
    track = the_sound(container)
    transcode.write(container, {track: transcode.Sound(out, "libmp3lame", track)})
