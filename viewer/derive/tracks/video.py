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

from viewer.derive.budget import Budget
from viewer.derive.kinds.sniff import Kind
from viewer.derive.pictures import high_range
from viewer.derive.pictures.photos import save_copies
from viewer.derive.tracks import audio, transcode
from viewer.derive.tracks.extent import Extent
from viewer.derive.tracks.streams import decodable, film_of, opened, sound_of, told_length
from viewer.derive.types import Broken, Derived, Limits, Unreadable

PLAYABLE_SIDE = 1280

_POSTER_FRAMES = 240  # looked at before we settle for the best so far
_ENOUGH_CONTRAST = 12  # standard deviation of brightness; black with noise has 2


def make_derivatives(source: BinaryIO, kind: Kind, into: Path, limits: Limits) -> Iterator[Derived]:
    """Yield two answers: its facts and poster; then the playable copy, if one is needed."""
    budget = Budget(limits)
    no_picture: Broken | None = None
    with opened(source, kind) as container:
        film, sound = film_of(container), sound_of(container)
        if film is not None:
            try:
                derived, turned = _with_poster(container, film, kind, into, limits)
            except Broken as broken:
                if sound is None or not decodable(sound):
                    raise
                no_picture = broken
            told = told_length(container)
            plays = _plays(kind, film, sound)
            extent = Extent.by_index(container, source)
    if film is None or no_picture:
        # A voicemail in a film's container: phones send such as 3GP.
        recording = audio.make_derivatives(source, audio.without_picture(kind), into, limits)
        yield from (_without_picture(one, no_picture) for one in recording)
        return

    extent = extent or Extent.by_packets(source, kind, told)
    derived = replace(
        derived,
        duration_seconds=round(extent.seconds, 3) or None,
        is_incomplete=derived.is_incomplete or extent.is_cut,
        is_playable=plays,
    )
    yield derived
    if not plays:
        yield _with_copy(derived, source, kind, into, turned, budget)


def _without_picture(recording: Derived, reason: Broken | None) -> Derived:
    """What is left of a film of which only the sound plays."""
    if reason is None:
        return recording
    problem = " ".join(filter(None, (reason.reason, recording.problem)))
    return replace(recording, is_incomplete=True, problem=problem)


def _with_poster(
    container: InputContainer, film: VideoStream, kind: Kind, into: Path, limits: Limits
) -> tuple[Derived, int]:
    if not decodable(film):
        raise Unreadable("The film is coded in a way that no browser plays.")
    if film.width * film.height > limits.pixels:
        raise Unreadable(f"The film is larger than {limits.pixels // 1_000_000} megapixels.")
    frame, is_incomplete = _telling_frame(container, film)
    turned = frame.rotation
    if target := high_range.for_pictures(frame):
        frame = frame.reformat(format="rgb24", **target)
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


def _plays(kind: Kind, film: VideoStream, sound: AudioStream | None) -> bool:
    if kind.mime_type == "video/mp4":
        return _is_plain_h264(film) and _is_plain_sound(sound)
    if kind.mime_type == "video/webm":
        codec = film.codec_context.name
        return codec in {"vp8", "libvpx", "vp9", "libvpx-vp9"} and _is_webm_sound(sound)
    return False


def _is_plain_h264(film: VideoStream) -> bool:
    # Ten bits and 4:2:2, which cameras make, are H.264 too, but no phone plays them.
    return film.codec_context.name == "h264" and film.pix_fmt in {"yuv420p", "yuvj420p"}


def _is_plain_sound(sound: AudioStream | None) -> bool:
    return sound is None or sound.codec_context.name in {"aac", "mp3", "mp3float"}


def _is_webm_sound(sound: AudioStream | None) -> bool:
    return sound is None or sound.codec_context.name in {"opus", "libopus", "vorbis"}


def _with_copy(
    derived: Derived, source: BinaryIO, kind: Kind, into: Path, turned: int, budget: Budget
) -> Derived:
    copied = derived
    for is_anew in (False, True):  # packets that no muxer takes are encoded anew
        with opened(source, kind) as container:
            rewrite = _Rewrite(container, turned, budget, is_anew=is_anew)
            copied = transcode.write_playable(derived, into, ("mp4", "video/mp4"), rewrite.write)
        if copied.playable or not rewrite.has_copied or budget.is_spent(0.5):
            break
    if copied.playable and rewrite.lost_sound:
        return replace(copied, problem="Its sound is coded in a way that we cannot play.")
    return copied


class _Rewrite:
    """One try to bring a film into an MP4."""

    def __init__(
        self, container: InputContainer, turned: int, budget: Budget, *, is_anew: bool
    ) -> None:
        self._container, self._turned, self._budget = container, turned, budget
        self._is_anew = is_anew
        self.has_copied = False  # a track as it was
        self.lost_sound = False

    def write(self, out: OutputContainer) -> None:
        film, sound = film_of(self._container), sound_of(self._container)
        if film is None:
            raise ValueError("no film")  # there was one when we looked
        tracks: dict[Stream, transcode.Track] = {}
        if _is_plain_h264(film) and not self._is_anew:
            tracks[film] = self._copied(out, film)
        else:
            tracks[film] = transcode.Film(out, film, _playable_size(film), self._turned)
        if sound is not None and not decodable(sound):
            self.lost_sound = True
        elif sound is not None and _is_plain_sound(sound) and not self._is_anew:
            tracks[sound] = self._copied(out, sound)
        elif sound is not None:
            tracks[sound] = transcode.Sound(out, "aac", sound)
        # Transport streams begin at any time of the day.
        start = max(0, self._container.start_time or 0) / av.time_base
        transcode.write(self._container, tracks, self._budget, start)

    def _copied(self, out: OutputContainer, track: Stream) -> transcode.Track:
        self.has_copied = True
        return transcode.Copied(out, track)


def _playable_size(film: VideoStream) -> tuple[int, int]:
    """Within 1280, never enlarged, and even: the encoder halves the colours."""
    width, height = _square_pixels(film, film.width, film.height)
    scale = min(1.0, PLAYABLE_SIDE / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
