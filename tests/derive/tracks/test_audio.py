"""Every voicemail tells its true length, shows its waveform and plays in every browser."""

import os
import struct
from dataclasses import replace

import av
import pytest

from tests.support import samples, sounds
from viewer.derive import DEFAULT_LIMITS, Broken, Unreadable, limits_of


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


def test_an_mp3_that_changes_its_rate_plays_whole_in_one_rate(look, tmp_path):
    recording = look(sounds.rate_changes(tmp_path))

    assert recording.duration_seconds == pytest.approx(4.1, abs=0.1)
    assert (recording.is_playable, recording.problem) == (True, None)
    with av.open(str(recording.playable)) as copy:
        rates = {frame.sample_rate for frame in copy.decode(audio=0)}
    assert len(rates) == 1
    assert seconds_of(recording.playable) == pytest.approx(recording.duration_seconds, abs=0.1)
    assert max(recording.peaks[110:140]) < 10  # the silence with which the second half begins


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_sound_that_does_not_say_which_channel_is_which_gets_its_copy(look, layout):
    channels = 1 if layout == "mono" else 2
    tone = sounds.tone(2.0)[44:] * channels
    head = struct.pack(">4sIIIII", b".snd", 24, len(tone), 3, 8000, channels)

    recording = look(head + tone)

    assert recording.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert seconds_of(recording.playable) == pytest.approx(2.0, abs=0.1)


def test_a_cover_as_large_as_you_like_hides_no_sound(look, tmp_path):
    size = 300_000
    seven_bits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x04\x00\x00" + seven_bits + bytes(size)

    of_mp3 = look(tag + sounds.bare_mp3(tmp_path))
    of_aac = look(tag + sounds.packed(tmp_path, "aac", "adts", rate=16000))

    assert of_mp3.mime_type == "audio/mpeg"
    assert of_aac.mime_type == "audio/aac"
    assert of_mp3.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert of_aac.duration_seconds == pytest.approx(2.0, abs=0.15)


@pytest.mark.proof
def test_what_lasts_too_long_for_a_copy_is_heard_to_its_end(look, tmp_path):
    path = samples.sound(tmp_path / "voicemail", "libopencore_amrnb", "amr", 60.0, 8000)
    many = path.read_bytes() + path.read_bytes()[6:] * 19

    # To hear all of it takes 5 s here, and with a copy 14 would be needed.
    recording = look(many, replace(DEFAULT_LIMITS, cpu_seconds=9))

    assert recording.duration_seconds == pytest.approx(1200, rel=0.01)
    assert max(recording.peaks) == 100
    assert recording.playable is None
    assert not recording.is_playable
    assert recording.problem == "It is so long that a copy for playing could not be made."


@pytest.mark.proof
def test_what_lasts_too_long_even_to_be_heard_has_its_length(look, tmp_path):
    path = samples.sound(tmp_path / "voicemail", "libopencore_amrnb", "amr", 60.0, 8000)
    many = path.read_bytes() + path.read_bytes()[6:] * 99

    recording = look(many, replace(DEFAULT_LIMITS, cpu_seconds=2))

    # By its bit rate, where the time did not suffice to count the packets either.
    assert recording.duration_seconds == pytest.approx(6000, rel=0.05)
    assert recording.peaks is None
    assert "so long that a copy" in recording.problem


def test_limits_go_by_kind_and_by_size():
    photo, sound, film = (limits_of(kind, 6_000_000) for kind in ("photo", "audio", "video"))

    assert photo == DEFAULT_LIMITS
    assert photo.cpu_seconds < sound.cpu_seconds < film.cpu_seconds
    assert limits_of("audio", 10_000).cpu_seconds < sound.cpu_seconds
    assert limits_of("audio", 10**9).cpu_seconds == limits_of("audio", 10**10).cpu_seconds
    assert limits_of("video", 10**9).file_bytes > 10**9
    assert limits_of("document", None) == DEFAULT_LIMITS


@pytest.mark.parametrize(("codec", "container"), [("pcm_s16le", "wav"), ("flac", "flac")])
def test_a_recording_that_lacks_its_end_says_so_and_a_whole_one_does_not(
    look, tmp_path, codec, container
):
    path = samples.sound(tmp_path / "voicemail", codec, container, 4.0, 8000)

    whole = look(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    cut = look(path)

    assert (whole.is_incomplete, cut.is_incomplete) == (False, True)
    assert cut.is_playable
    assert cut.duration_seconds < whole.duration_seconds == pytest.approx(4.0, abs=0.1)


def test_an_mp3_that_is_shorter_than_its_index_says_is_cut_and_its_copy_has_its_length(
    look, tmp_path
):
    whole = samples.sound(tmp_path / "whole", "libmp3lame", "mp3", 20.0, 16000).read_bytes()

    recording = look(whole[: len(whole) // 2])

    assert recording.is_incomplete
    assert recording.duration_seconds == pytest.approx(10, abs=0.5)
    with av.open(str(recording.playable)) as copy:
        assert copy.duration / av.time_base == pytest.approx(recording.duration_seconds, abs=0.2)
    assert not look(whole).is_incomplete


def test_junk_behind_the_last_frame_is_no_damage(look, tmp_path):
    mp3 = sounds.bare_mp3(tmp_path)

    recording = look(mp3 + b"TAG" + b"nobody".ljust(125, b"\0") + bytes(4000))

    assert recording.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert not recording.is_incomplete


def test_a_header_that_lies_about_its_length_is_not_believed(look, tmp_path):
    wav = bytearray(sounds.tone(4.0))
    wav[4:8] = wav[40:44] = struct.pack("<I", 0x7FFFFFF0)

    recording = look(bytes(wav))

    assert recording.duration_seconds == pytest.approx(4.0, abs=0.01)


def test_a_recording_with_a_cover_has_its_sound_and_no_picture(look, tmp_path):
    cover = samples.packed(samples.corner_picture(64, 64), "JPEG")
    apic = b"\0image/jpeg\0\x03\0" + cover
    frame = b"APIC" + struct.pack(">IH", len(apic), 0) + apic
    seven_bits = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))

    recording = look(b"ID3\x03\0\0" + seven_bits + frame + sounds.bare_mp3(tmp_path))

    assert recording.media_type == "audio"
    assert recording.thumbnail is None
    assert recording.duration_seconds == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    "empty",
    [
        b"#!AMR\n",
        sounds.tone(0),
        b"fLaC" + bytes(100),
        b".snd" + struct.pack(">IIIII", 24, 0, 1, 8000, 1),
    ],
    ids=["AMR", "WAV", "FLAC", "AU"],
)
def test_a_recording_of_no_length_is_called_broken(look, empty):
    with pytest.raises(Broken, match="damaged or incomplete"):
        look(empty)


def test_ffmpegs_own_words_stay_in_the_log(look, caplog):
    with pytest.raises(Broken) as broken:
        look(b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + b"\x01\x02garbage" * 500)

    assert broken.value.reason == "The file is damaged or incomplete: nothing in it plays."
    assert "InvalidDataError" in caplog.text


def test_a_header_that_points_to_nowhere_kills_nobody(look):
    """As WMA files do whose index lies: FFmpeg then asks for a place before the beginning."""
    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    noise = os.urandom(64)  # whatever it is

    with pytest.raises(Unreadable):
        look(asf + struct.pack("<QI", 2**63 + 5, 3) + b"\1\2" + noise)


@pytest.mark.proof
@pytest.mark.parametrize(
    ("codec", "container", "rate"),
    [("libopencore_amrnb", "amr", 8000), ("libopus", "ogg", 48000)],
)
def test_an_hour_gets_its_copy_within_the_limits_of_its_size(
    look, tmp_path, codec, container, rate
):
    path = samples.sound(tmp_path / "hour", codec, container, 60.0, rate)
    if container == "amr":
        path.write_bytes(path.read_bytes() + path.read_bytes()[6:] * 59)
    else:  # one stream after another, as Ogg allows
        path.write_bytes(path.read_bytes() * 60)

    recording = look(path, limits_of("audio", path.stat().st_size))

    assert recording.duration_seconds == pytest.approx(3600, rel=0.01)
    assert (recording.is_playable, recording.problem) == (True, None)
    assert seconds_of(recording.playable) == pytest.approx(recording.duration_seconds, abs=0.2)
