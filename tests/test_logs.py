"""Logs name no customer, whoever writes the line."""

import logging

import pytest

from viewer.logs import FORMAT, OneLine


def written(words: str, *arguments: object) -> str:
    record = logging.LogRecord("viewer.x", logging.ERROR, "", 1, words, arguments, None)
    return OneLine(FORMAT).format(record)


@pytest.mark.parametrize(
    "key",
    [
        "2026/09/21/617-555-0123/messages/1736977200_photo.jpg",
        "2026/09/21/617-555-0123/recordings/1736977200_recording-2_playable.mp3",
        "2026/09/21/Dana-Whitfield-1a2b3c4d/voicemails/1736977200_voicemail.mp3",
    ],
)
def test_the_key_of_a_file_is_logged_as_a_digest(key):
    one = written("%s in %s has wrong bytes: %s, %s.", key, "folder:/backup", key, key)

    assert "555-0123" not in one
    assert "Whitfield" not in one
    assert one.count("key:") == 3
    assert one.endswith(".")
    assert written("%s", key).split("key:")[1] == one.split("key:")[1].split(" ")[0]


def test_other_words_and_times_stay_as_they_are():
    words = "media=91 stored bytes=48210 at 2026/09/21 in /srv/photos"
    assert written(words).endswith(words)
