"""Write the copy of a film or recording that browsers play, track by track."""

from __future__ import annotations  # PyAV's Packet takes its type only in annotations

import errno
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from viewer.derive.budget import Budget, TooLong
from viewer.derive.pictures import high_range
from viewer.derive.tracks.resampler import Resampler
from viewer.derive.types import Derived

Frame = TypeVar("Frame", VideoFrame, AudioFrame)

TOO_LONG = "It is so long that a copy for playing could not be made."
NOT_MADE = "A copy for playing could not be made of it."


class Track(Protocol):
    """One track of the copy: takes the packets of one track of the original."""

    def feed(self, packet: Packet[Stream]) -> None: ...

    def end(self) -> None:
        """Write what the encoder holds back."""


def write_playable(
    derived: Derived,
    into: Path,
    kind: tuple[str, str],
    fill: Callable[[OutputContainer], None],
) -> Derived:
    """Make the playable copy, whole or not at all. `kind`: its format, as a file's extension, and
    its MIME type. What fails is a `problem` of the derivatives: the original is there all the same.
    """
    extension, mime_type = kind
    part, playable = into / f"playable.{extension}.part", into / f"playable.{extension}"
    options = {"movflags": "+faststart"} if extension == "mp4" else {}
    try:
        with av.open(str(part), "w", format=extension, options=options) as out:
            fill(out)
    except MemoryError:
        raise
    except TooLong:
        return replace(derived, problem=TOO_LONG)
    except (av.FFmpegError, ValueError) as failed:
        note(failed)
        return replace(derived, problem=NOT_MADE)
    if not part.exists():  # nothing at all came to be written
        return replace(derived, problem=NOT_MADE)
    part.rename(playable)
    return replace(derived, playable=playable, playable_type=mime_type, is_playable=True)


def note(failed: Exception) -> None:
    """Say in the log what failed: FFmpeg's words mean nothing to staff. A full disk is not noted,
    but raised: it is not the file's fault.
    """
    if isinstance(failed, OSError) and failed.errno in (errno.ENOSPC, errno.EDQUOT):
        raise failed
    print(f"{type(failed).__name__}: {failed}", file=sys.stderr)  # noqa: T201


def write(
    container: InputContainer,
    tracks: dict[Stream, Track],
    budget: Budget | None = None,
    start: float = 0.0,
) -> None:
    """Bring each track of `tracks` over, as far as the original goes. What is at `start` seconds
    comes to stand at 0. Raises TooLong.
    """
    for packet in _packets(container, tracks):
        if budget is not None:
            budget.check(_SHARE)
        if start and packet.time_base:
            shift = round(start / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        tracks[packet.stream].feed(packet)
    for original, track in tracks.items():
        # An empty packet asks a decoder for what it holds back.
        the_end: Packet[Stream] = Packet()
        the_end.stream, the_end.time_base = original, original.time_base or Fraction(1, 1000)
        track.feed(the_end)
        track.end()


_COLOURS = frozenset({1, 5, 6})  # BT.709 and the two of BT.601, as FFmpeg numbers them
_SHARE = 0.9  # of the budget; the rest is for writing the index


def _packets(container: InputContainer, tracks: dict[Stream, Track]) -> Iterator[Packet[Stream]]:
    try:
        for packet in container.demux(*tracks):
            if packet.size:  # the empty ones come only if the original ends as it should
                yield packet
    except MemoryError:
        raise
    except av.FFmpegError:
        return  # cut off: what came before it is the copy


class Copied:
    """The same packets in a new container."""

    def __init__(self, out: OutputContainer, original: Stream) -> None:
        self._out = out
        self._stream = out.add_stream_from_template(original)
        self._last: int | None = None

    def feed(self, packet: Packet[Stream]) -> None:
        if not packet.size:
            return
        self._put_in_order(packet)
        packet.stream = self._stream
        self._out.mux(packet)

    def _put_in_order(self, packet: Packet[Stream]) -> None:
        """Give each packet a later time than the one before: else muxers take none of it."""
        least = 0 if self._last is None else self._last + 1
        told = packet.dts if packet.dts is not None else packet.pts
        packet.dts = least if told is None or (self._last is not None and told < least) else told
        if packet.pts is not None and packet.pts < packet.dts:
            packet.pts = packet.dts
        self._last = packet.dts

    def end(self) -> None:
        """Nobody encodes here."""


class Sound:
    """Sound encoded anew. `keeps_time`: at the moments that its frames say, as beside a film."""

    def __init__(
        self, out: OutputContainer, codec: str, original: AudioStream, *, keeps_time: bool = True
    ) -> None:
        layout = "mono" if original.codec_context.channels == 1 else "stereo"
        # Telephone sound has 8 or 16 kHz; 24 kHz is the least that every player likes.
        rate = 24000 if 0 < original.codec_context.sample_rate <= 24000 else 44100
        self._out, self._original, self._keeps_time = out, original, keeps_time
        self._rate, self._next = rate, 0
        # The encoder takes most of the time: a minute in 310 ms instead of 470.
        options = {"compression_level": "7"} if codec == "libmp3lame" else {}
        stream = out.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, AudioStream)  # noqa: S101 (for the type checker)
        self._stream = stream
        self._stream.bit_rate = 64_000 if layout == "mono" else 128_000
        self._resampler = Resampler(self._stream.codec_context.format, layout, rate)

    def feed(self, packet: Packet[Stream]) -> None:
        for frame in frames_of(self._original.decode, packet):
            self.take(frame)

    def take(self, frame: AudioFrame) -> None:
        self._encode(self._resampler.take(frame))

    def end(self) -> None:
        self._encode(self._resampler.end())
        self._out.mux(self._stream.encode(None))

    def _encode(self, pieces: list[AudioFrame]) -> None:
        for piece in pieces:
            told = piece.pts if self._keeps_time else None
            piece.pts = self._next if told is None else max(told, self._next)
            piece.time_base = Fraction(1, self._rate)
            self._next = piece.pts + piece.samples
            self._out.mux(self._stream.encode(piece))


class Film:
    """Moving pictures encoded anew as H.264; the turn stays a mark in the container."""

    def __init__(
        self, out: OutputContainer, original: VideoStream, size: tuple[int, int], turned: int
    ) -> None:
        self._out, self._original = out, original
        self._stream = out.add_stream("libx264", rate=original.guessed_rate or 30)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "25"}
        # Phones drop frames when it is dark: keep each frame's own time, not a steady rate.
        self._stream.codec_context.time_base = Fraction(1, 90_000)
        self._stream.codec_context.thread_count = 2
        self._stream.set_display_rotation(turned)
        self._tell_colours(original)
        self._reformatter = VideoReformatter()
        self._step = 1 / (original.guessed_rate or 30)
        self._last: float | None = None

    def feed(self, packet: Packet[Stream]) -> None:
        for frame in frames_of(self._original.decode, packet):
            if not self._is_later(frame):
                continue
            shaped = self._reformatter.reformat(
                frame,
                self._stream.width,
                self._stream.height,
                "yuv420p",
                **high_range.for_video(frame),
            )
            shaped.pict_type = av.video.frame.PictureType.NONE  # the encoder places its own keys
            self._out.mux(self._stream.encode(shaped))

    def _tell_colours(self, original: VideoStream) -> None:
        """Without these marks, players guess by the size of the picture."""
        ours, theirs = self._stream.codec_context, original.codec_context
        if theirs.color_trc in high_range.CURVES:
            ours.colorspace = ours.color_trc = ours.color_primaries = 1  # BT.709
            return
        if theirs.colorspace in _COLOURS:
            ours.colorspace = theirs.colorspace
        if theirs.color_trc in _COLOURS and theirs.color_primaries in _COLOURS:
            ours.color_trc, ours.color_primaries = theirs.color_trc, theirs.color_primaries

    def _is_later(self, frame: VideoFrame) -> bool:
        """Whether the frame comes after the last one; one without a time gets one."""
        if frame.pts is None or frame.time_base is None:
            after = 0.0 if self._last is None else self._last + float(self._step)
            frame.time_base = Fraction(1, 90_000)
            frame.pts = round(after * 90_000)
        moment = float(frame.pts * frame.time_base)
        is_later = self._last is None or moment > self._last
        self._last = moment if is_later else self._last
        return is_later

    def end(self) -> None:
        self._out.mux(self._stream.encode(None))


def frames_of(
    decode: Callable[[Packet[Stream]], list[Frame]], packet: Packet[Stream]
) -> list[Frame]:
    """The frames of a packet. A broken packet is a gap, not the end."""
    try:
        return decode(packet)
    except MemoryError:
        raise
    except av.FFmpegError:
        return []
