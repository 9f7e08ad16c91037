"""Write the copy of a film or recording that browsers play, track by track."""

from __future__ import annotations  # PyAV's Packet takes its type only in annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from viewer.derive.types import Derived

Frame = TypeVar("Frame", VideoFrame, AudioFrame)


class Track(Protocol):
    """One track of the copy: takes the packets of one track of the original."""

    def feed(self, packet: Packet[Stream]) -> None: ...

    def end(self) -> None:
        """Write what the encoder holds back."""


def write_playable(
    derived: Derived,
    into: Path,
    kind: tuple[str, str],
    open_source: Callable[[], AbstractContextManager[InputContainer]],
    rewrite: Callable[[InputContainer, OutputContainer], None],
) -> Derived:
    """Make the playable copy, whole or not at all. `kind`: its format, as a file's extension, and
    its MIME type. What fails is a `problem` of the derivatives: the original is there all the same.
    """
    extension, mime_type = kind
    part, playable = into / f"playable.{extension}.part", into / f"playable.{extension}"
    options = {"movflags": "+faststart"} if extension == "mp4" else {}
    try:
        with (
            open_source() as container,
            av.open(str(part), "w", format=extension, options=options) as out,
        ):
            rewrite(container, out)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as failed:
        return replace(derived, problem=f"The copy for playing could not be made: {failed}")
    part.rename(playable)
    return replace(derived, playable=playable, playable_type=mime_type)


def write(container: InputContainer, tracks: dict[Stream, Track]) -> None:
    """Bring each track of `tracks` over, as far as the original goes."""
    for packet in _packets(container, tracks):
        tracks[packet.stream].feed(packet)
    for original, track in tracks.items():
        # An empty packet asks a decoder for what it holds back.
        the_end: Packet[Stream] = Packet()
        the_end.stream, the_end.time_base = original, original.time_base or Fraction(1, 1000)
        track.feed(the_end)
        track.end()


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

    def feed(self, packet: Packet[Stream]) -> None:
        if packet.size and packet.dts is not None:
            packet.stream = self._stream
            self._out.mux(packet)

    def end(self) -> None:
        """Nobody encodes here."""


class Sound:
    """A sound track encoded anew."""

    def __init__(self, out: OutputContainer, codec: str, original: AudioStream) -> None:
        layout = "mono" if original.codec_context.channels == 1 else "stereo"
        # Telephone sound has 8 or 16 kHz; 24 kHz is the least that every player likes.
        rate = 24000 if original.codec_context.sample_rate <= 24000 else 44100
        self._out, self._original = out, original
        stream = out.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)  # noqa: S101 (for the type checker)
        self._stream = stream
        self._stream.bit_rate = 64_000 if layout == "mono" else 128_000
        self._resampler = AudioResampler(self._stream.codec_context.format, layout, rate)

    def feed(self, packet: Packet[Stream]) -> None:
        for frame in _frames(self._original.decode, packet):
            self._encode(frame)

    def end(self) -> None:
        self._encode(None)  # what the resampler holds back
        self._out.mux(self._stream.encode(None))

    def _encode(self, frame: AudioFrame | None) -> None:
        for piece in self._resampler.resample(frame):
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
        self._reformatter = VideoReformatter()

    def feed(self, packet: Packet[Stream]) -> None:
        for frame in _frames(self._original.decode, packet):
            shaped = self._reformatter.reformat(
                frame, self._stream.width, self._stream.height, "yuv420p"
            )
            shaped.pict_type = av.video.frame.PictureType.NONE  # the encoder places its own keys
            self._out.mux(self._stream.encode(shaped))

    def end(self) -> None:
        self._out.mux(self._stream.encode(None))


def _frames(decode: Callable[[Packet[Stream]], list[Frame]], packet: Packet[Stream]) -> list[Frame]:
    """The frames of a packet. A broken packet is a gap, not the end."""
    try:
        return decode(packet)
    except av.error.InvalidDataError:
        return []
