"""A decoder that a hostile file has taken over may answer anything: none of it is believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from viewer.derive import Broken, Killed, NoRoom, Unreadable, answers

GOOD: dict[str, Any] = {
    "mime_type": "image/jpeg", "media_type": "photo", "width": 640, "height": 480,
    "duration_seconds": None, "thumbnail": "thumbnail.jpg", "preview": None, "full": None,
    "playable": None, "playable_type": None, "placeholder": "data:image/webp;base64,UklGRg==",
    "peaks": None, "is_incomplete": False, "problem": None,
}  # fmt: skip


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    (folder / "thumbnail.jpg").write_bytes(b"picture")
    (tmp_path / "secret.jpg").write_bytes(b"not its own")
    return folder


def test_a_right_answer_is_taken_as_it_is(into):
    found = answers.derived(GOOD, into, "image/jpeg")

    assert found.thumbnail == into / "thumbnail.jpg"
    assert (found.width, found.height, found.is_incomplete) == (640, 480, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"thumbnail": "../secret.jpg"},
        {"thumbnail": "/etc/passwd"},
        {"thumbnail": "preview.jpg"},
        {"thumbnail": "thumbnail.jpg\0"},
        {"thumbnail": ["thumbnail.jpg"]},
        {"preview": "preview.jpg"},  # it is not there
        {"playable": "thumbnail.jpg"},
        {"mime_type": "text/html"},
        {"mime_type": "image/png"},
        {"mime_type": None},
        {"media_type": "document"},
        {"media_type": ["photo"]},
        {"width": -1},
        {"width": 2**40},
        {"width": True},
        {"width": "640"},
        {"duration_seconds": float("nan")},
        {"duration_seconds": float("inf")},
        {"duration_seconds": -3},
        {"placeholder": "https://elsewhere.example/a.gif"},
        {"placeholder": 'data:image/webp;base64,"><script>'},
        {"placeholder": "data:image/webp;base64," + "A" * 100_000},
        {"peaks": [101]},
        {"peaks": ["a"]},
        {"peaks": [0] * 100_000},
        {"is_incomplete": "no"},
        {"is_playable": None},
        {"problem": "x" * 10_000},
        {"problem": "a\nb"},
        {"problem": {"a": 1}},
        {"sha256": "0" * 64},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)
def test_an_answer_that_cannot_be_is_not_believed(wrong, into):
    with pytest.raises(Killed, match="makes no sense"):
        answers.derived(GOOD | wrong, into, "image/jpeg")


def test_a_link_to_another_file_is_no_picture(into):
    (into / "preview.jpg").symlink_to(into.parent / "secret.jpg")

    with pytest.raises(Killed, match="makes no sense"):
        answers.derived(GOOD | {"preview": "preview.jpg"}, into, "image/jpeg")
    with pytest.raises(Killed, match="makes no sense"):
        answers.cleaned({"file": "clean.jpg", "mime_type": "image/jpeg"}, into)


def test_a_film_without_a_picture_may_turn_out_to_be_sound(into):
    said = GOOD | {"mime_type": "audio/3gpp", "media_type": "audio", "thumbnail": None}

    assert answers.derived(said, into, "video/3gpp").media_type == "audio"
    with pytest.raises(Killed):
        answers.derived(said, into, "image/jpeg")


@pytest.mark.parametrize(
    ("written", "expected", "words"),
    [
        (b"", Killed, "It took longer"),
        (b"{half", Killed, "It took longer"),
        (b"not JSON\n", Killed, "makes no sense"),
        (b"\xff\xfe\n", Killed, "makes no sense"),
        (b"[]\n", Killed, "makes no sense"),
        (b"[" * 100_000 + b"\n", Killed, "makes no sense"),
        (b'{"unreadable": 7}\n', Killed, "makes no sense"),
        (b'{"unreadable": "a\\u0000b"}\n', Killed, "makes no sense"),
        (b'{"unreadable": "Strange."}\n', Unreadable, "Strange"),
        (b'{"unreadable": "Cut.", "is_broken": true}\n', Broken, "Cut"),
        (b'{"no_room": "Full."}\n', NoRoom, "Full"),
    ],
)
def test_the_last_whole_line_counts(written, expected, words):
    with pytest.raises(expected, match=words):
        answers.last_answer(written, "It took longer than it may.")
