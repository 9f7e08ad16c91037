"""Sound and film in the formats phones send, made from our spoken mp3s and drawn walls."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
from PIL import Image

from viewer.demo.drawing import crack_photo

VOICES = Path(__file__).parent / "voices"
FILM_SECONDS = 5

Container = Literal["mp4", "3gp"]


def mp3(voice: str) -> bytes:
    """A voicemail as the provider keeps it."""
    return (VOICES / f"{voice}.mp3").read_bytes()


def amr(voice: str) -> bytes:
    """The same words as an old phone records them. No browser plays this."""
    return _voice_alone("amr", voice)


def voice_3gp(voice: str) -> bytes:
    """The same words in a 3GP file without a picture, as phones attach voice memos."""
    return _voice_alone("3gp", voice)


def pan(seed: int, container: Container, *, kind: str = "poured", voice: str) -> bytes:
    """Five seconds along a cracked wall, with somebody talking.

    The mp4 is H.264 and AAC, which every browser plays; the 3gp is H.263 and AMR, which none does.
    """
    playable = container == "mp4"
    size, rate = ((640, 480), 20) if playable else ((352, 288), 15)
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        # Both tracks stand in the file's head, so both come before the first picture.
        film = cast("Any", target.add_stream("libx264" if playable else "h263", rate=rate))
        film.width, film.height = size
        film.pix_fmt = "yuv420p"
        film.bit_rate = 500_000
        sound = _aac_track(target) if playable else _amr_track(target)
        for n, picture in enumerate(_along_the_wall(seed, kind, size, rate * FILM_SECONDS)):
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = n, Fraction(1, rate)
            target.mux(film.encode(frame))
        target.mux(film.encode(None))
        _speak(target, sound, voice, until=FILM_SECONDS)
    return out.getvalue()


def _voice_alone(container: str, voice: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        _speak(target, _amr_track(target), voice)
    return out.getvalue()


def _amr_track(target: Any) -> Any:
    track = target.add_stream("libopencore_amrnb", rate=8000, layout="mono")
    track.bit_rate = 12200
    return track


def _aac_track(target: Any) -> Any:
    track = target.add_stream("aac", rate=16000, layout="mono")
    track.bit_rate = 48000
    return track


def _along_the_wall(
    seed: int, kind: str, size: tuple[int, int], frames: int
) -> Iterator[Image.Image]:
    """A hand that walks along the crack from the top to the floor, not quite steadily."""
    wall = crack_photo(seed, kind=kind)
    view_w, view_h = 800, round(800 * size[1] / size[0])
    for n in range(frames):
        along = n / max(1, frames - 1)
        sway = round(9 * ((n * 7 % 23) / 23 - 0.5))
        x = round((wall.width - view_w) * (0.35 + 0.3 * along)) + sway
        y = round((wall.height - view_h - 10) * along) + 5 + sway // 2
        yield wall.crop((x, y, x + view_w, y + view_h)).resize(size, Image.Resampling.BILINEAR)


def _speak(target: Any, track: Any, voice: str, *, until: float | None = None) -> None:
    """Say this voice's words on the track, at most to the second `until`."""
    codec = track.codec_context
    turn = av.AudioResampler(format=codec.format, layout="mono", rate=codec.sample_rate)
    with av.open(str(VOICES / f"{voice}.mp3")) as source:
        for frame in source.decode(audio=0):
            if until is not None and (frame.time or 0) >= until:
                break
            for ready in turn.resample(frame):
                target.mux(track.encode(ready))
    for ready in turn.resample(None):
        target.mux(track.encode(ready))
    target.mux(track.encode(None))
