"""A film or recording for strangers: its picture and its sound, copied into a new container.

Whatever else a container holds stays behind: places, titles, dates, covers, tracks of a drone's
or a phone's own data. Nothing is encoded anew; what we would have to decode is Unreadable here.
"""

from __future__ import annotations  # PyAV's Packet takes its type only in annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from viewer.derive.kinds.sniff import Kind
from viewer.derive.tracks import transcode
from viewer.derive.tracks.streams import film_of, opened, sound_of
from viewer.derive.types import Cleaned, Limits, Unreadable

_MUXERS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/mp4": "ipod",
    "audio/3gpp": "3gp",
    "audio/3gpp2": "3g2",
    "audio/webm": "webm",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/aac": "adts",
    "audio/ogg": "ogg",
}
_OPTIONS = {
    "mp4": {"movflags": "+faststart"},
    "mov": {"movflags": "+faststart"},
    "ipod": {"movflags": "+faststart"},
    "mp3": {"id3v2_version": "0"},
}
# Cameras write words and places between the pictures, too (SEI); no picture needs them.
_ASIDES = {"h264": "filter_units=remove_types=6", "hevc": "filter_units=remove_types=39-40"}
_PLAIN_FILMS = frozenset({"vp8", "vp9", "av1", "libdav1d", "h263"})
_PLAIN_SOUNDS = frozenset(
    """
    aac mp3 mp3float opus libopus vorbis flac alac amrnb amrwb libopencore_amrnb libopencore_amrwb
    pcm_alaw pcm_mulaw pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_f32le
    """.split()  # noqa: SIM905
)


def clean(source: BinaryIO, kind: Kind, into: Path, _limits: Limits) -> Iterator[Cleaned]:
    """One answer. Raises Unreadable."""
    muxer = _MUXERS.get(kind.mime_type)
    if muxer is None:
        raise Unreadable("We cannot clean this kind of file.")
    part, file = into / "clean.part", into / f"clean.{kind.extension}"
    # bitexact: the muxer adds no words and dates of its own either.
    options = {"fflags": "+bitexact", **_OPTIONS.get(muxer, {})}
    try:
        with (
            opened(source, kind) as container,
            av.open(str(part), "w", format=muxer, options=options) as out,
        ):
            film, sound = film_of(container), sound_of(container)
            tracks: dict[Stream, transcode.Track] = {}
            if film is not None:
                tracks[film] = _film(out, film)
            if sound is not None:
                tracks[sound] = _sound(out, sound)
            if not tracks:
                raise Unreadable("There is no sound or picture in the file.")
            transcode.write(container, tracks)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as failed:
        transcode.note(failed)
        raise Unreadable("The file could not be cleaned.") from failed
    if not part.exists():  # nothing at all came to be written
        raise Unreadable("There is no sound or picture in the file.")
    part.rename(file)
    yield Cleaned(file, kind.mime_type)


def _film(out: OutputContainer, film: VideoStream) -> transcode.Track:
    codec = _codec(film)
    if codec in _ASIDES:
        return _WithoutAsides(out, film, _ASIDES[codec])
    if codec not in _PLAIN_FILMS:
        raise Unreadable("The film is coded in a way that we cannot clean.")
    return transcode.Copied(out, film)


def _sound(out: OutputContainer, sound: AudioStream) -> transcode.Track:
    if _codec(sound) not in _PLAIN_SOUNDS:
        raise Unreadable("The sound is coded in a way that we cannot clean.")
    return transcode.Copied(out, sound)


def _codec(stream: VideoStream | AudioStream) -> str:
    context: av.CodecContext | None = stream.codec_context
    return context.name if context is not None else ""


class _WithoutAsides:
    """The same pictures, without what was written between them."""

    def __init__(self, out: OutputContainer, original: VideoStream, filtered: str) -> None:
        self._out = out
        self._stream = out.add_stream_from_template(original)
        self._filter = BitStreamFilterContext(filtered, original, self._stream)

    def feed(self, packet: Packet[Stream]) -> None:
        if packet.size and packet.dts is not None:
            try:
                filtered = self._filter.filter(packet)
            except av.error.InvalidDataError:  # cut in the middle: no player shows it either
                return
            self._mux(filtered)

    def end(self) -> None:
        self._mux(self._filter.filter(None))

    def _mux(self, packets: list[Packet[Stream]]) -> None:
        for packet in packets:
            packet.stream = self._stream
            self._out.mux(packet)
