"""Every film has a poster on which something can be seen, and plays in every browser."""

import av
import pytest
from PIL import Image

from tests.support import samples
from viewer.derive import Unreadable


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
