"""Every voicemail tells its true length, shows its waveform and plays in every browser."""

import av
import pytest

from tests.support import samples
from viewer.derive import Unreadable


def seconds_of(path) -> float:
    with av.open(str(path)) as container:
        return sum(f.samples / f.sample_rate for f in container.decode(audio=0))


@pytest.mark.parametrize(
    ("codec", "container", "rate", "mime_type"),
    [
        ("libopencore_amrnb", "amr", 8000, "audio/amr"),
        ("libopencore_amrnb", "3gp", 8000, "audio/3gpp"),
        ("libopus", "ogg", 48000, "audio/ogg"),
        ("alac", "caf", 44100, "audio/x-caf"),
        ("wmav2", "asf", 44100, "audio/x-ms-wma"),
        ("adpcm_ms", "wav", 8000, "audio/wav"),
    ],
)
def test_what_browsers_do_not_play_gets_an_mp3(look, tmp_path, codec, container, rate, mime_type):
    recording = look(samples.sound(tmp_path / "voicemail", codec, container, 2.0, rate))

    assert (recording.mime_type, recording.media_type) == (mime_type, "audio")
    assert recording.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert recording.playable_type == "audio/mpeg"
    assert seconds_of(recording.playable) == pytest.approx(2.0, abs=0.15)
    assert recording.problem is None
    assert recording.thumbnail is None


@pytest.mark.parametrize(
    ("codec", "container", "mime_type"),
    [
        ("libmp3lame", "mp3", "audio/mpeg"),
        ("aac", "ipod", "audio/mp4"),
        ("aac", "mp4", "audio/mp4"),
        ("pcm_mulaw", "wav", "audio/wav"),
    ],
)
def test_what_browsers_play_is_left_alone(look, tmp_path, codec, container, mime_type):
    recording = look(samples.sound(tmp_path / "voicemail", codec, container, 2.0, 16000))

    assert recording.mime_type == mime_type
    assert recording.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert recording.playable is None


def test_length_of_a_varying_mp3_without_an_index_is_counted_not_guessed(look, tmp_path):
    path = samples.sound(
        tmp_path / "vbr", "libmp3lame", "mp3", 30.0, options={"abr": "1"}, write_xing="0"
    )
    with av.open(str(path)) as container:
        guessed = container.duration / av.time_base

    recording = look(path)

    assert recording.duration_seconds == pytest.approx(30.0, abs=0.1)
    assert abs(guessed - 30.0) > 0.5  # else this test proves nothing


def test_waveform_shows_where_somebody_speaks(look, tmp_path):
    recording = look(samples.sound(tmp_path / "voicemail", "libopencore_amrnb", "amr", 4.0, 8000))

    assert len(recording.peaks) == 200
    assert max(recording.peaks[:95]) < 10
    assert min(recording.peaks[110:190]) > 60
    assert max(recording.peaks) == 100


def test_cut_recording_plays_as_far_as_it_goes(look, tmp_path):
    path = samples.sound(tmp_path / "voicemail", "libopencore_amrnb", "amr", 4.0, 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 7])

    recording = look(path)

    assert recording.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert recording.playable.stat().st_size > 5000


def test_recording_in_which_nothing_plays_is_unreadable(look, tmp_path):
    path = samples.sound(tmp_path / "voicemail", "aac", "ipod")
    path.write_bytes(path.read_bytes()[:900])

    with pytest.raises(Unreadable, match=r"damaged|no sound"):
        look(path)
    with pytest.raises(Unreadable, match=r"damaged|no sound"):
        look(b"#!AMR\n")
