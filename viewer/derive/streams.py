"""Open video and audio containers that a stranger sent.

FFmpeg never guesses: sniff() chose the one demuxer, and only the codecs of phones may decode.
So a playlist or a subtitle script that calls itself a film reaches neither network nor disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from viewer.derive.sniff import Kind
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
}

_DECODERS = frozenset(
    """
    h264 hevc mpeg4 h263 h263i flv1 mjpeg msmpeg4v2 msmpeg4v3 wmv1 wmv2 wmv3 vc1
    vp8 vp9 av1 libdav1d
    aac mp3 mp3float opus libopus vorbis flac alac speex libspeex gsm gsm_ms wmav1 wmav2 wmapro
    amrnb amrwb libopencore_amrnb libopencore_amrwb qcelp evrc
    adpcm_ima_wav adpcm_ima_qt adpcm_ms pcm_alaw pcm_mulaw pcm_f32be pcm_f32le
    pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32le pcm_s8 pcm_u8
    """.split()  # noqa: SIM905 (a list of fifty lines reads worse)
)


@contextmanager
def opened(source: BinaryIO, kind: Kind) -> Iterator[InputContainer]:
    """The container with its streams known. Whatever is wrong with it is Broken."""
    source.seek(0)
    try:
        container = av.open(
            source,
            format=_DEMUXERS[kind.mime_type],
            metadata_errors="replace",
            options={"codec_whitelist": ",".join(sorted(_DECODERS))},
        )
    except MemoryError:  # FFmpeg's own is one of the next line's too
        raise
    except (av.FFmpegError, ValueError) as broken:
        raise Broken("The file is damaged or incomplete: nothing in it plays.") from broken
    with container:
        assert isinstance(container, InputContainer)  # noqa: S101 (for the type checker)
        yield container


def film_of(container: InputContainer) -> VideoStream | None:
    """The moving picture, None if there is only sound. A cover picture does not move."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


def sound_of(container: InputContainer) -> AudioStream | None:
    return next(iter(container.streams.audio), None)


def the_sound(container: InputContainer) -> AudioStream:
    """The sound of a recording. Without any that we may decode it is Unreadable."""
    sound = sound_of(container)
    if sound is None or not decodable(sound):
        raise Unreadable("There is no sound in the file that we can read.")
    return sound


def decodable(stream: VideoStream | AudioStream) -> bool:
    """Whether one of the codecs we let strangers use."""
    context: av.CodecContext | None = stream.codec_context
    return context is not None and context.name in _DECODERS
