"""Measure a recording's duration and waveform, and make a copy that every browser plays.

The copy is MP3: the one format that every browser decodes by itself (builds of Chromium and
Firefox without licensed codecs have no AAC), that can be played before it has arrived whole,
and whose constant bit rate lets a player seek without an index.

The recording is decoded once, for the waveform and the copy.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from viewer.derive.budget import Budget, TooLong
from viewer.derive.kinds import framed
from viewer.derive.kinds.sniff import HEAD_SIZE, KINDS, Kind, sniff
from viewer.derive.tracks import transcode
from viewer.derive.tracks.extent import lacks_bytes
from viewer.derive.tracks.loudness import Loudness
from viewer.derive.tracks.resampler import with_layout
from viewer.derive.tracks.streams import opened, the_sound, told_length
from viewer.derive.types import Broken, Derived, Limits

# What browsers play depends on container and codec; whatever is not here gets a copy.
_PLAYED = {
    "audio/mpeg": {"mp3", "mp3float"},
    "audio/mp4": {"aac", "mp3", "mp3float"},
    "audio/aac": {"aac"},
    "audio/flac": {"flac"},
    "audio/wav": {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"},
    "audio/webm": {"opus", "libopus", "vorbis"},
}
# Kinds whose header knows how much there is; the others estimate it.
_EXACT = frozenset(
    {"audio/wav", "audio/x-w64", "audio/flac", "audio/aiff", "audio/x-caf", "audio/mp4"}
)
# Kinds without a header that says it: what FFmpeg tells of them is reckoned from their bit rate.
_ESTIMATED = frozenset({"audio/amr", "audio/amr-wb", "audio/aac", "audio/mpeg", "audio/x-gsm"})
# Shares of the time a child has, after which it stops to make the copy, and to decode.
_FOR_THE_COPY, _FOR_THE_WAVE = 0.6, 0.85
_SETTLING = 0.5  # seconds in which a decoder may find out that the rate is twice what was said


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield up to three answers: duration by its header; true duration and peaks; the copy."""
    budget = Budget(limits)
    kind = _behind_a_large_tag(source, kind)
    with opened(source, kind) as container:
        track = the_sound(container)
        codec = track.codec_context.name
        told = told_length(container)
    source.seek(0)
    plays = codec in _PLAYED.get(kind.mime_type, ()) and framed.begins_plainly(
        source.read(HEAD_SIZE), kind.mime_type
    )
    derived = Derived(
        mime_type=kind.mime_type, media_type="audio", duration_seconds=told, is_playable=plays
    )
    if told is not None:
        yield derived

    heard = _Heard(budget)
    if not plays:
        copied = _with_copy(derived, source, kind, into, heard)
        if heard.is_over:
            yield heard.describe(copied, source, kind)
            return
        heard = _Heard(budget)  # the copy failed on the way: listen for the rest
        derived = copied
    heard.listen(source, kind)
    derived = heard.describe(derived, source, kind)
    if plays and (heard.changes or heard.is_longer_or_shorter_than_told):
        # Browsers play on in the rate that it begins with, if they play on at all; and they seek
        # by the length that the header tells.
        derived = replace(derived, is_playable=False)
        yield derived
        derived = _with_copy(derived, source, kind, into, _Heard(budget))
    yield derived


def _behind_a_large_tag(source: BinaryIO, kind: Kind) -> Kind:
    """What stands behind an ID3 tag with a cover so large that sniff() did not see beyond it."""
    source.seek(0)
    start = framed.behind_tags(source.read(HEAD_SIZE))
    if kind.mime_type != "audio/mpeg" or start < HEAD_SIZE:
        return kind
    source.seek(start)
    found = sniff(source.read(HEAD_SIZE))
    return found if found.media_type == "audio" else kind


_WITHOUT_PICTURE = {
    "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska",
    "video/3gpp": "audio/3gpp",
    "video/3gpp2": "audio/3gpp2",
    "video/x-msvideo": "audio/x-msvideo",
    "video/x-ms-wmv": "audio/x-ms-wma",
    "video/mp2t": "audio/mp2t",
    "video/mpeg": "audio/x-mpeg-ps",
    "video/x-flv": "audio/x-flv",
    "video/ogg": "audio/ogg",
}


def without_picture(kind: Kind) -> Kind:
    """The kind of a video container that holds only sound."""
    return KINDS[_WITHOUT_PICTURE.get(kind.mime_type, "audio/mp4")]


class _Heard:
    """What one decoding of a recording tells. Headers of AMR, AAC, and MP3 of varying bit rate
    do not know or lie.
    """

    def __init__(self, budget: Budget) -> None:
        self.is_over = False  # all of it has been heard, or as much as there was time for
        self.changes = 0  # of sample rate or channels on the way
        self._budget = budget
        self._seconds = 0.0
        self._has_index = False  # of an MP3, which says how many frames there are
        self._reached = 0  # the byte at which the time was up
        self._loudness = Loudness()
        self._is_cut = False
        self._good = self._broken = 0  # packets
        self._told: float | None = None

    def listen(self, source: BinaryIO, kind: Kind, out: OutputContainer | None = None) -> None:
        """Decode all of it, and write the copy into `out`. Where that fails, listen on to the end
        and raise it then: TooLong, or what FFmpeg said. Raises Broken if there is nothing to hear.
        """
        changes_at_first = 0
        self._has_index = kind.mime_type == "audio/mpeg" and framed.has_index(source)
        with opened(source, kind) as container:
            track = the_sound(container)
            self._told = told_length(container)
            copy = _Copy(out, track, self._budget) if out is not None else None
            for frame in self._frames(container, track):
                self._seconds += frame.samples / frame.sample_rate
                self._loudness.take(frame)
                if self._seconds < _SETTLING:
                    changes_at_first = self._loudness.changes
                if copy is not None:
                    copy.take(frame)
            self._loudness.end()
        self.changes = self._loudness.changes - changes_at_first
        if not self._seconds:
            raise Broken("Nothing in the recording plays: it is damaged or incomplete.")
        self.is_over = True
        if copy is not None:
            copy.end()

    def _frames(self, container: InputContainer, track: AudioStream) -> Iterator[AudioFrame]:
        try:
            for packet in container.demux(track):
                if packet.pos and self._budget.is_spent(_FOR_THE_WAVE):
                    self._reached = packet.pos
                    return
                try:
                    frames = packet.decode()
                except MemoryError:
                    raise
                except av.FFmpegError:
                    self._broken += 1
                    continue
                self._good += bool(frames)
                yield from map(with_layout, frames)
        except MemoryError:
            raise
        except av.FFmpegError:
            self._is_cut = True

    def describe(self, derived: Derived, source: BinaryIO, kind: Kind) -> Derived:
        """The answer, with what was heard."""
        if self._reached:
            return replace(
                derived,
                duration_seconds=round(self._extrapolated(source, kind), 3),
                problem=derived.problem or "It is too long for us to draw its waveform.",
            )
        return replace(
            derived,
            duration_seconds=round(self._seconds, 3),
            peaks=self._loudness.peaks(),
            is_incomplete=self._is_cut
            or self._ends_early(kind)
            or self._broken * 50 > self._good
            or lacks_bytes(source),
        )

    @property
    def is_longer_or_shorter_than_told(self) -> bool:
        if self._told is None or self._reached:
            return False
        return abs(self._told - self._seconds) > max(1.0, self._seconds / 10)

    def _extrapolated(self, source: BinaryIO, kind: Kind) -> float:
        """How long all of it is, after a part of it: by its header, if that knows."""
        if self._told is not None and kind.mime_type not in _ESTIMATED:
            return self._told
        return self._seconds * source.seek(0, os.SEEK_END) / self._reached

    def _ends_early(self, kind: Kind) -> bool:
        """Whether there is less than the header says; of a stream that was never finished, it
        says nothing.
        """
        if self._told is None or not (kind.mime_type in _EXACT or self._has_index):
            return False
        return self._told - self._seconds > max(0.5, self._told / 50)


class _Copy:
    """The copy, until it fails. Raises at its end."""

    def __init__(self, out: OutputContainer, track: AudioStream, budget: Budget) -> None:
        self._sound = transcode.Sound(out, "libmp3lame", track, keeps_time=False)
        self._budget = budget
        self._failed: Exception | None = None

    def take(self, frame: AudioFrame) -> None:
        if self._failed is not None:
            return
        try:
            self._budget.check(_FOR_THE_COPY)
            self._sound.take(frame)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError, TooLong) as failed:
            self._failed = failed

    def end(self) -> None:
        if self._failed is not None:
            raise self._failed
        self._sound.end()


def _with_copy(
    derived: Derived, source: BinaryIO, kind: Kind, into: Path, heard: _Heard
) -> Derived:
    return transcode.write_playable(
        derived, into, ("mp3", "audio/mpeg"), lambda out: heard.listen(source, kind, out)
    )
