"""Every film has a poster on which something can be seen, and plays in every browser."""

import io
import random
from dataclasses import replace

import av
import pytest
from PIL import Image

from tests.support import samples
from viewer.derive import DEFAULT_LIMITS, Broken, Limits, Unreadable


def plays_everywhere(path) -> bool:
    """H.264 and AAC in an MP4 whose index comes before its pictures."""
    head = path.read_bytes()
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        codecs = [s.codec_context.name for s in container.streams]
        return (
            codecs in (["h264"], ["h264", "aac"])
            and film.pix_fmt == "yuv420p"
            and film.width % 2 == film.height % 2 == 0
            and max(film.width, film.height) <= 1280
            and head.index(b"moov") < head.index(b"mdat")
        )


@pytest.mark.parametrize(
    ("codec", "container", "size", "voice", "rate"),
    [
        ("h263", "3gp", (176, 144), "libopencore_amrnb", 8000),
        ("libx265", "mov", (320, 240), "aac", 44100),
        ("mpeg4", "avi", (320, 240), "libmp3lame", 44100),
        ("mpeg4", "mp4", (1500, 300), None, 0),
    ],
    ids=["old phone", "iPhone", "camera", "large"],
)
def test_what_browsers_do_not_play_gets_an_mp4(look, tmp_path, codec, container, size, voice, rate):
    film = look(
        samples.film(tmp_path / "film", codec, container, size, voice=voice, voice_rate=rate)
    )

    assert film.problem is None
    assert film.media_type == "video"
    assert film.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert samples.red_corner(film.thumbnail) == "top left"
    assert film.playable_type == "video/mp4"
    with av.open(str(film.playable)) as copy:
        assert copy.duration / av.time_base == pytest.approx(2.0, abs=0.2)
        assert len(list(copy.decode(video=0))) == 20
    if voice != "libmp3lame":  # which MP4 may hold as well
        assert plays_everywhere(film.playable)


def test_h264_of_a_mov_is_only_put_into_another_container(look, tmp_path):
    original = samples.film(tmp_path / "film", "libx264", "mov", voice="aac", turned=-90)
    with av.open(str(original)) as container:
        pictures = [bytes(p) for p in container.demux(video=0) if p.size]

    film = look(original)

    assert plays_everywhere(film.playable)
    with av.open(str(film.playable)) as copy:
        assert next(copy.decode(video=0)).rotation == -90
        copy.seek(0)
        assert [bytes(p) for p in copy.demux(video=0) if p.size] == pictures


def test_mp4_that_browsers_play_is_left_alone(look, tmp_path):
    film = look(samples.film(tmp_path / "film", voice="aac"))

    assert film.playable is None
    assert (film.width, film.height) == (320, 240)
    assert film.mime_type == "video/mp4"
    assert not film.is_incomplete


@pytest.mark.parametrize(
    ("turned", "corner", "size"),
    [
        (-90, "top right", (240, 320)),
        (90, "bottom left", (240, 320)),
        (180, "bottom right", (320, 240)),
    ],
)
def test_film_held_sideways_stands_upright(look, tmp_path, turned, corner, size):
    film = look(samples.film(tmp_path / "film", "mpeg4", frames=5, turned=turned))

    assert (film.width, film.height) == size
    assert samples.red_corner(film.preview) == corner
    with av.open(str(film.playable)) as copy:
        assert abs(next(copy.decode(video=0)).rotation) == abs(turned)


def test_poster_is_not_the_black_that_films_begin_with(look, tmp_path):
    def draw(n):
        return Image.new("RGB", (320, 240)) if n < 12 else samples.corner_picture(320, 240)

    film = look(samples.film(tmp_path / "film", draw=draw))

    assert samples.red_corner(film.thumbnail) == "top left"


def test_film_that_stays_black_still_has_a_poster(look, tmp_path):
    film = look(samples.film(tmp_path / "film", draw=lambda _: Image.new("RGB", (320, 240))))

    assert film.thumbnail.exists()


def test_webm_without_a_length_in_its_header_has_one(look, tmp_path):
    path = samples.film(tmp_path / "film", "libvpx", "webm")
    # A recorder in a browser writes as it goes, and never comes back to fill this in.
    path.write_bytes(path.read_bytes().replace(b"\x44\x89\x88", b"\xec\x89\x88"))

    film = look(path)

    assert film.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert film.playable is None


def test_cut_film_keeps_its_poster_and_what_there_is(look, tmp_path):
    path = samples.film(tmp_path / "film", "libx265", "matroska", frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])

    film = look(path)

    assert film.thumbnail.exists()
    assert film.playable.stat().st_size > 1000


def test_film_without_its_index_is_unreadable(look, tmp_path):
    path = samples.film(tmp_path / "film")
    path.write_bytes(path.read_bytes()[:2000])

    with pytest.raises(Unreadable, match="damaged or incomplete"):
        look(path)


def test_playlist_that_calls_itself_a_film_opens_nothing(look, tmp_path):
    outside = samples.film(tmp_path / "outside.mp4")
    playlist = f"#EXTM3U\n#EXTINF:2,\nfile://{outside}\n#EXT-X-ENDLIST\n".encode()

    with pytest.raises(Unreadable):
        look(playlist)
    with pytest.raises(Unreadable):
        look(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + playlist)


# --- Odd films -------------------------------------------------------------------------------


def fallen_asunder(content: bytes, kind: str, share: int = 2) -> bytes:
    """The bytes, with every packet of this track's from the middle on overwritten with noise."""
    harmed = bytearray(content)
    noise = random.Random(3)
    with av.open(io.BytesIO(content)) as container:
        track = getattr(container.streams, kind)[0]
        packets = [p for p in container.demux(track) if p.size and p.pos is not None]
        for packet in packets[len(packets) // share :]:
            harmed[packet.pos : packet.pos + packet.size] = noise.randbytes(packet.size)
    return bytes(harmed)


@pytest.mark.parametrize(
    ("codec", "container", "pixels", "size"),
    [
        ("ffvhuff", "avi", "yuv420p", (64, 48)),
        ("mjpeg", "avi", "yuvj422p", (321, 241)),
        ("libx264", "matroska", "yuv444p", (321, 241)),
        ("libx264", "mov", "yuv422p10le", (320, 240)),
        ("prores_ks", "mov", "yuv422p10le", (320, 240)),
        ("mpeg4", "mp4", "yuv420p", (320, 240)),
        ("qtrle", "mov", "rgb24", (101, 77)),
    ],
)
def test_every_shape_of_pixels_has_a_poster_and_a_copy(
    look, tmp_path, codec, container, pixels, size
):
    path = samples.film(tmp_path / "film", codec, container, size, frames=5, pixels=pixels)
    if codec == "ffvhuff":
        with pytest.raises(Unreadable) as unreadable:
            look(path)
        assert not isinstance(unreadable.value, Broken)
        return

    film = look(path)

    assert (film.width, film.height) == size
    assert film.thumbnail.exists()
    assert plays_everywhere(film.playable)


def test_a_film_of_varying_rate_keeps_its_moments(look, tmp_path):
    moments = [0, 1, 2, 10, 11, 30, 31, 32]
    path = samples.film(tmp_path / "film", "libx265", "mov", frames=8, moments=moments)

    film = look(path)

    with av.open(str(film.playable)) as copy:
        seen = [round(float(frame.pts * frame.time_base), 2) for frame in copy.decode(video=0)]
    assert seen == [moment / 10 for moment in moments]


def test_a_film_of_one_frame_is_a_film(look, tmp_path):
    film = look(samples.film(tmp_path / "film", "libx265", "mov", frames=1))

    assert samples.red_corner(film.thumbnail) == "top left"
    assert plays_everywhere(film.playable)


def test_a_broken_sound_track_does_not_cost_the_film(look, tmp_path):
    path = samples.film(tmp_path / "film", "libx265", "mov", voice="aac", frames=40)

    film = look(fallen_asunder(path.read_bytes(), "audio"))

    assert film.is_playable
    with av.open(str(film.playable)) as copy:
        assert len(list(copy.decode(video=0))) == 40


def test_a_film_whose_pictures_are_broken_keeps_its_sound_and_says_so(look, tmp_path):
    path = samples.film(tmp_path / "film", "mpeg4", "mp4", voice="aac", frames=40)

    film = look(fallen_asunder(path.read_bytes(), "video", share=40))

    if film.media_type == "video":  # noise that decodes is a picture to FFmpeg
        assert film.thumbnail.exists()
        return
    assert film.is_incomplete
    assert "no picture in it" in film.problem
    assert film.duration_seconds == pytest.approx(4.0, abs=0.2)


def test_sound_that_ends_in_the_first_part_leaves_the_film_whole(look, tmp_path):
    path = samples.film(
        tmp_path / "film", "libx265", "mov", voice="aac", frames=40, voice_seconds=1
    )

    film = look(path)

    assert film.duration_seconds == pytest.approx(4.0, abs=0.1)
    with av.open(str(film.playable)) as copy:
        assert copy.duration / av.time_base == pytest.approx(4.0, abs=0.2)


def test_a_transport_stream_begins_at_nought(look, tmp_path):
    """Else a player shows a still picture for as long as the camcorder had been on."""
    path = samples.film(tmp_path / "film", container="mpegts", voice="mp2", voice_rate=44100)
    with av.open(str(path)) as container:
        assert container.start_time > 0

    film = look(path)

    assert film.duration_seconds == pytest.approx(2.0, abs=0.15)
    with av.open(str(film.playable)) as copy:
        assert copy.start_time == 0
        assert copy.duration / av.time_base == pytest.approx(2.0, abs=0.2)
        assert len(list(copy.decode(video=0))) == 20


def test_frames_that_were_taken_over_are_all_there(look, tmp_path):
    """Where frames refer to later ones, the first packets of Matroska have no time to decode."""
    path = samples.film(tmp_path / "film", "libx264", "matroska", frames=50)

    film = look(path)

    with av.open(str(film.playable)) as copy:
        assert len(list(copy.decode(video=0))) == 50


@pytest.mark.parametrize("container", ["mp4", "webm", "matroska"])
def test_a_film_cut_behind_its_index_says_so_and_how_long_it_is(look, tmp_path, container):
    codec = "libvpx" if container == "webm" else "libx264"
    draw = [samples.corner_picture(320, 240).rotate(n * 5) for n in range(60)]
    path = samples.film(tmp_path / "film", codec, container, frames=60, draw=draw.__getitem__)
    if container == "mp4":
        path = index_first(path)

    whole = look(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = look(path)

    assert (whole.is_incomplete, cut.is_incomplete) == (False, True)
    assert whole.duration_seconds == pytest.approx(6.0, abs=0.2)
    assert 1.0 < cut.duration_seconds < 5.0


def index_first(path):
    moved = path.with_suffix(".moved")
    with (
        av.open(str(path)) as source,
        av.open(str(moved), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        track = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    return moved


@pytest.mark.parametrize("told", [0x7FFFFFF0, 0xFFFFFFFE, 0])
def test_a_length_that_no_film_has_is_not_believed(look, tmp_path, told):
    path = samples.film(tmp_path / "film")
    content = bytearray(path.read_bytes())
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = content.index(box) + offset
        content[at : at + 4] = told.to_bytes(4, "big")

    film = look(bytes(content))

    assert film.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert not film.is_incomplete


@pytest.mark.proof
@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_a_film_in_hdr_is_not_grey(look, tmp_path, curve):
    film = look(samples.high_range_film(tmp_path / "film", curve), Limits(cpu_seconds=60))

    with av.open(str(film.playable)) as copy:
        playing = next(copy.decode(video=0)).to_image()
    with Image.open(film.thumbnail) as poster:
        for picture in (poster.convert("RGB"), playing):
            for place, colour in (((80, 60), samples.RED), ((240, 180), samples.BLUE)):
                shown = picture.getpixel(place)
                assert all(
                    abs(is_ - should) < 45 for is_, should in zip(shown, colour, strict=True)
                )


@pytest.mark.proof
def test_a_film_too_long_for_a_copy_has_its_poster_and_says_so(look, tmp_path):
    path = samples.film(tmp_path / "film", "libx265", "mov", (1280, 720), frames=300)

    film = look(path, replace(DEFAULT_LIMITS, cpu_seconds=1))

    assert film.thumbnail.exists()
    assert film.duration_seconds == pytest.approx(30, abs=0.2)
    assert (film.playable, film.is_playable) == (None, False)
    assert film.problem


def test_sound_alone_in_a_container_of_films_is_a_recording(look, tmp_path):
    for container, codec, mime_type in (
        ("matroska", "libopus", "audio/x-matroska"),
        ("avi", "libmp3lame", "audio/x-msvideo"),
        ("mov", "aac", "audio/mp4"),
        ("webm", "libopus", "audio/webm"),
    ):
        recording = look(samples.sound(tmp_path / container, codec, container, 2.0, 48000))

        assert (recording.mime_type, recording.media_type) == (mime_type, "audio")
        assert recording.duration_seconds == pytest.approx(2.0, abs=0.15)
        assert recording.is_playable


def test_webm_with_what_no_browser_plays_gets_a_copy(look, tmp_path):
    path = samples.film(tmp_path / "film", "libx264", "matroska")
    path.write_bytes(path.read_bytes().replace(b"matroska", b"webm\xec\x82\0\0", 1))

    film = look(path)

    assert film.playable_type == "video/mp4"
