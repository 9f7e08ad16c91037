"""Make a video's poster, measure it, and make an MP4 that every browser plays.

The copy is H.264 and AAC in MP4. What is already so coded is only put into the new container;
the rest (HEVC of iPhones, H.263 and MPEG-4 of old phones, AMR sound) is encoded anew.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageStat

from viewer.derive import audio, transcode
from viewer.derive.photos import save_copies
from viewer.derive.sniff import Kind
from viewer.derive.streams import decodable, film_of, opened, sound_of
from viewer.derive.types import Broken, Derived, Limits, Unreadable

PLAYABLE_SIDE = 1280

_POSTER_FRAMES = 240  # looked at before we settle for the best so far
_ENOUGH_CONTRAST = 12  # standard deviation of brightness; black with noise has 2


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield two answers: its facts and poster; then the playable copy, if one is needed."""
    with opened(source, kind) as container:
        film, sound = film_of(container), sound_of(container)
        if film is not None:
            derived, turned = _with_poster(container, film, kind, into, limits)
            told = container.duration / av.time_base if container.duration else None
            plays = _plays(kind, film, sound)
    if film is None:
        # A voicemail in a film's container: phones send such as 3GP.
        yield from audio.make_derivatives(source, audio.without_picture(kind), into, limits)
        return

    derived = replace(derived, duration_seconds=round(told or _counted(source, kind), 3) or None)
    yield derived
    if not plays:
        yield _with_copy(derived, source, kind, into, turned)


def _with_poster(
    container: InputContainer, film: VideoStream, kind: Kind, into: Path, limits: Limits
) -> tuple[Derived, int]:
    if not decodable(film):
        raise Unreadable("The film is coded in a way that we cannot read.")
    if film.width * film.height > limits.pixels:
        raise Unreadable(f"The film is larger than {limits.pixels // 1_000_000} megapixels.")
    frame, is_incomplete = _telling_frame(container, film)
    turned = frame.rotation
    poster = _picture(frame).resize(_square_pixels(film, frame.width, frame.height))
    poster = poster.rotate(turned, expand=True) if turned else poster
    width, height = poster.size
    thumbnail, preview, placeholder = save_copies(poster, into)
    derived = Derived(
        mime_type=kind.mime_type,
        media_type="video",
        width=width,
        height=height,
        thumbnail=thumbnail,
        preview=preview,
        placeholder=placeholder,
        is_incomplete=is_incomplete,
    )
    return derived, turned


def _telling_frame(container: InputContainer, film: VideoStream) -> tuple[VideoFrame, bool]:
    """The first frame on which something can be seen, and whether the film broke before it."""
    best, most, is_incomplete = None, -1.0, False
    try:
        for seen, frame in enumerate(container.decode(film)):
            small = _picture(frame, width=64, height=64).convert("L")
            contrast = ImageStat.Stat(small).stddev[0]
            if contrast > most:
                best, most = frame, contrast
            if contrast >= _ENOUGH_CONTRAST or seen >= _POSTER_FRAMES:
                break
    except MemoryError:
        raise
    except av.FFmpegError:
        is_incomplete = True
    if best is None:
        raise Broken("The film is damaged or incomplete: there is no picture in it.")
    return best, is_incomplete


def _picture(frame: VideoFrame, **size: int) -> Image.Image:
    picture: Image.Image = frame.to_image(**size)  # type: ignore[no-untyped-call]
    return picture


def _square_pixels(film: VideoStream, width: int, height: int) -> tuple[int, int]:
    """The size as shown: the pixels of H.263 are not square."""
    aspect = film.sample_aspect_ratio
    if aspect and Fraction(1, 4) < aspect < 4:
        width = max(1, round(width * aspect))
    return width, height


def _counted(source: BinaryIO, kind: Kind) -> float:
    """When the last packet ends. A browser that records never goes back to write the length."""
    ends = 0.0
    with opened(source, kind) as container:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    ends = max(ends, float(end))
        except MemoryError:
            raise
        except av.FFmpegError:
            return ends  # as far as it goes
    return ends


def _plays(kind: Kind, film: VideoStream, sound: AudioStream | None) -> bool:
    if kind.mime_type == "video/mp4":
        return _is_plain_h264(film) and _is_plain_sound(sound)
    return kind.mime_type == "video/webm"


def _is_plain_h264(film: VideoStream) -> bool:
    # Ten bits and 4:2:2, which cameras make, are H.264 too, but no phone plays them.
    return film.codec_context.name == "h264" and film.pix_fmt in {"yuv420p", "yuvj420p"}


def _is_plain_sound(sound: AudioStream | None) -> bool:
    return sound is None or sound.codec_context.name in {"aac", "mp3", "mp3float"}


def _with_copy(derived: Derived, source: BinaryIO, kind: Kind, into: Path, turned: int) -> Derived:
    return transcode.write_playable(
        derived,
        into,
        ("mp4", "video/mp4"),
        lambda: opened(source, kind),
        lambda container, out: _rewrite(container, out, turned),
    )


def _rewrite(container: InputContainer, out: OutputContainer, turned: int) -> None:
    film, sound = film_of(container), sound_of(container)
    if film is None:
        raise ValueError("no film")  # there was one when we looked
    tracks: dict[Stream, transcode.Track] = {}
    if _is_plain_h264(film):
        tracks[film] = transcode.Copied(out, film)
    else:
        tracks[film] = transcode.Film(out, film, _playable_size(film), turned)
    if sound is not None and decodable(sound):
        plain = _is_plain_sound(sound)
        tracks[sound] = (
            transcode.Copied(out, sound) if plain else transcode.Sound(out, "aac", sound)
        )
    transcode.write(container, tracks)


def _playable_size(film: VideoStream) -> tuple[int, int]:
    """Within 1280, never enlarged, and even: the encoder halves the colours."""
    width, height = _square_pixels(film, film.width, film.height)
    scale = min(1.0, PLAYABLE_SIDE / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
