"""Open video and audio containers that a stranger sent.

FFmpeg never guesses: sniff() chose the one demuxer, and only the codecs of phones may decode.
So a playlist or a subtitle script that calls itself a film reaches neither network nor disk.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from viewer.derive.kinds.sniff import Kind
from viewer.derive.types import Broken, Unreadable

_DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/3gpp2": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/x-ms-wmv": "asf",
    "audio/mpeg": "mp3",
    "audio/mp4": "mov",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/amr": "amr",
    "audio/amr-wb": "amr",
    "audio/x-caf": "caf",
    "audio/x-ms-wma": "asf",
    "audio/webm": "matroska",
    "audio/3gpp": "mov",
    "audio/3gpp2": "mov",
    "video/mp2t": "mpegts",
    "video/mpeg": "mpeg",
    "video/x-flv": "flv",
    "video/ogg": "ogg",
    "audio/mp2": "mp3",
    "audio/aiff": "aiff",
    "audio/basic": "au",
    "audio/x-w64": "w64",
    "audio/x-gsm": "gsm",
    "audio/qcelp": "qcp",
    "audio/x-matroska": "matroska",
    "audio/x-msvideo": "avi",
    "audio/mp2t": "mpegts",
    "audio/x-mpeg-ps": "mpeg",
    "audio/x-flv": "flv",
}

_DECODERS = frozenset(
    """
    h264 hevc mpeg4 h263 h263i flv mjpeg msmpeg4v2 msmpeg4 wmv1 wmv2 wmv3 vc1
    vp8 vp9 av1 libdav1d
    mpeg1video mpeg2video msmpeg4v1 mjpegb svq1 svq3 cinepak qtrle msrle msvideo1 rpza h261
    dvvideo prores theora vp6 vp6f
    mp1 mp1float mp2 mp2float ac3 eac3 aac_latm
    aac mp3 mp3float opus libopus vorbis flac alac speex gsm gsm_ms
    wmav1 wmav2 wmapro wmalossless wmavoice
    amrnb amrwb libopencore_amrnb libopencore_amrwb qcelp evrc
    adpcm_ima_wav adpcm_ima_qt adpcm_ms adpcm_yamaha adpcm_swf g726 g726le g722 g723_1 g729
    truespeech ilbc nellymoser pcm_bluray pcm_dvd pcm_f64be pcm_f64le pcm_s32be pcm_alaw pcm_mulaw
    pcm_f32be pcm_f32le pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32le pcm_s8 pcm_u8
    """.split()  # noqa: SIM905 (a list of fifty lines reads worse)
)


class _Source:
    """The original, for FFmpeg. To a place that cannot be, as broken headers name one, there is no
    way: an exception on it would end everything.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


@contextmanager
def opened(source: BinaryIO, kind: Kind) -> Iterator[InputContainer]:
    """The container with its streams known. Whatever is wrong with it is Broken."""
    source.seek(0)
    try:
        container = av.open(
            _Source(source),
            format=_DEMUXERS[kind.mime_type],
            metadata_errors="replace",
            options={"codec_whitelist": ",".join(sorted(_DECODERS))},
        )
    except MemoryError:  # FFmpeg's own is one of the next line's too
        raise
    except (av.FFmpegError, ValueError) as broken:
        print(f"{type(broken).__name__}: {broken}", file=sys.stderr)  # noqa: T201 (for the log)
        raise Broken("The file is damaged or incomplete: nothing in it plays.") from broken
    with container:
        assert isinstance(container, InputContainer)  # noqa: S101 (for the type checker)
        yield container


def told_length(container: InputContainer) -> float | None:
    """Seconds by the header; None if it does not say, or says what cannot be."""
    seconds = (container.duration or 0) / av.time_base
    return seconds if 0 < seconds < _LONGEST else None


_LONGEST = 1_000_000.0  # seconds; eleven days


def film_of(container: InputContainer) -> VideoStream | None:
    """The moving picture, None if there is only sound. A cover picture does not move."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


def sound_of(container: InputContainer) -> AudioStream | None:
    """The sound track, best one that we can decode: phones add others for their own use."""
    tracks = container.streams.audio
    return next(filter(decodable, tracks), next(iter(tracks), None))


def the_sound(container: InputContainer) -> AudioStream:
    """The sound of a recording. Raises Unreadable without any that we may decode, Broken without
    any at all.
    """
    sound = sound_of(container)
    if sound is None:
        raise Broken("There is no sound in the file: it is damaged or incomplete.")
    if not decodable(sound):
        raise Unreadable("It is coded in a way that no browser plays.")
    return sound


def decodable(stream: VideoStream | AudioStream) -> bool:
    """Whether one of the codecs we let strangers use."""
    context: av.CodecContext | None = stream.codec_context
    return context is not None and context.name in _DECODERS
