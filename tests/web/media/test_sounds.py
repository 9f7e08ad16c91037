"""Odd and damaged sounds and films, from the provider's webhook to every page that shows them."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import av
import pytest
import sqlalchemy as sa

from tests.support import call_events, homes, samples
from tests.support.pages import Page
from tests.support.pictures import picture
from tests.support.sounds import ODD, packed, tone
from tests.support.stored_files import keep, place
from viewer import holdings
from viewer.derive.tracks import transcode
from viewer.extensions import db, now
from viewer.intake import derivatives
from viewer.models import ApiToken, MediaAttachment, User, fingerprint
from viewer.office import accounts, sharing

CopyState, MediaType = MediaAttachment.CopyState, MediaAttachment.MediaType
Trouble = MediaAttachment.Trouble


@pytest.fixture
def voicemail(deliver, work, provider) -> Callable[[bytes], MediaAttachment]:
    """Leave these bytes as a voicemail, with the type that the provider names for all of them."""

    def leave(content: bytes) -> MediaAttachment:
        for event in call_events.voicemail(provider.serve(content, content_type="audio/mpeg")):
            assert deliver(event).status_code == 204
        work()
        return db.session.scalars(sa.select(MediaAttachment)).one()

    return leave


@pytest.fixture
def sent(deliver, work, provider, message) -> Callable[..., MediaAttachment]:
    """Send these bytes by text."""

    def send(content: bytes, content_type: str) -> MediaAttachment:
        url = provider.serve(content, content_type=content_type)
        assert deliver(message(media=[url]).payload()).status_code == 204
        work()
        return db.session.scalars(sa.select(MediaAttachment)).one()

    return send


@pytest.fixture
def api(app) -> Callable[[str], Any]:
    user = accounts.add("crm@crack.example", User.Role.FIELD, "CRM")
    db.session.add(
        ApiToken(user_id=user.id, fingerprint=fingerprint("secret"), name="CRM", scopes=["read"])
    )
    db.session.commit()
    return lambda path: app.test_client().get(
        f"/api/v1{path}", headers={"Authorization": "Bearer secret"}
    )


def conversation(client: Any, media: MediaAttachment) -> Page:
    return Page(client.get(f"/conversations/{media.conversation_id}").text)


def seconds_of(content: bytes) -> tuple[str, float]:
    """The codec, and how long it plays."""
    with av.open(io.BytesIO(content)) as container:
        frames = container.decode(audio=0)
        seconds = sum(frame.samples / frame.sample_rate for frame in frames)
        return container.streams.audio[0].codec_context.name, seconds


@pytest.mark.parametrize("name", ODD)
def test_an_odd_voicemail_keeps_its_ending_and_plays(name, voicemail, client, tmp_path):
    make, mime_type, extension = ODD[name]
    lasts = 4.0 if name == "changes its rate" else 2.0

    media = voicemail(make(tmp_path))

    assert (media.mime_type, media.media_type) == (mime_type, MediaType.AUDIO)
    assert media.file_path.endswith(f"_voicemail.{extension}")
    assert (media.copy_state, media.copy_problem, media.trouble) == (CopyState.MADE, None, None)
    assert media.duration_seconds == pytest.approx(lasts, abs=0.2)
    assert len(media.peaks) == 200
    copy = client.get(f"/media/{media.id}/playable")
    assert copy.mimetype == "audio/mpeg"
    codec, seconds = seconds_of(copy.data)
    assert codec.startswith("mp3")
    assert seconds == pytest.approx(media.duration_seconds, abs=0.2)
    page = conversation(client, media)
    assert len(page.all("audio")) == 1
    assert "Voicemail" in page.text


def test_a_film_of_a_camcorder_gets_an_mp4(sent, client, tmp_path):
    film = samples.film(tmp_path / "film", container="mpegts", voice="ac3", voice_rate=48000)

    media = sent(film.read_bytes(), "application/octet-stream")

    assert (media.mime_type, media.media_type) == ("video/mp2t", MediaType.VIDEO)
    assert media.file_path.endswith(".ts")
    assert media.duration_seconds == pytest.approx(2.0, abs=0.1)
    copy = client.get(f"/media/{media.id}/playable")
    with av.open(io.BytesIO(copy.data)) as container:
        codecs = [track.codec_context.name for track in container.streams]
        assert (codecs, container.start_time) == (["h264", "aac"], 0)
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.2)
    assert len(conversation(client, media).all("video")) == 1


# --- What does not play ---------------------------------------------------------------------

GARBAGE = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + b"\x01\x02garbage" * 500


def cut_film(folder: Any) -> bytes:
    """A film whose index, at its end, did not arrive."""
    return samples.film(folder / "film").read_bytes()[:1500]


def test_a_voicemail_in_which_nothing_plays_has_no_player_but_its_reason(
    voicemail, client, api, log_in
):
    media = voicemail(GARBAGE)

    reason = "The file is damaged or incomplete: nothing in it plays."
    assert (media.copy_state, media.copy_problem) == (CopyState.IMPOSSIBLE, reason)
    assert media.trouble is Trouble.INCOMPLETE
    for page in (
        conversation(client, media),
        Page(client.get(f"/media/{media.id}/passport").text),
    ):
        assert page.all("audio") == []
        assert reason in page.text
        assert page.all("a", href=f"/media/{media.id}?download=1")
    gallery = Page(client.get("/photos?kind=sounds").text)
    tiles = gallery.all("a", class_="tile__open tile__open--plain")
    assert [tile["href"] for tile in tiles] == [f"/media/{media.id}?download=1"]
    assert "MP3 voicemail Here, but incomplete" in gallery.text
    assert "MP3 voicemail" in conversation(client, media).text
    assert client.get(f"/media/{media.id}/playable").status_code == 404
    told = api(f"/media/{media.id}").json
    assert (told["availability"], told["problem"]) == ("incomplete", reason)
    offered = log_in("office").get(f"/shares/new?media={media.id}")
    assert "Nothing in it plays" in Page(offered.text).text
    assert client.get(f"/media/{media.id}").data == GARBAGE


def test_a_film_without_its_index_has_no_player_but_its_reason(sent, client, tmp_path):
    content = cut_film(tmp_path)

    media = sent(content, "video/mp4")

    reason = "The file is damaged or incomplete: nothing in it plays."
    assert (media.copy_state, media.copy_problem) == (CopyState.IMPOSSIBLE, reason)
    page = conversation(client, media)
    assert page.all("video") == []
    assert reason in page.text
    assert page.all("a", href=f"/media/{media.id}?download=1")
    assert client.get(f"/media/{media.id}/playable").status_code == 404
    assert client.get(f"/media/{media.id}").data == content


def test_a_voicemail_of_unknown_bytes_is_a_voicemail_and_says_what_is_wrong(voicemail, client):
    media = voicemail(bytes(range(256)) * 20)

    assert media.mime_type == "application/octet-stream"
    page = conversation(client, media)
    assert '<span class="file__name">Voicemail</span>' in page.html
    assert "File" not in page.words
    assert "It is no kind of sound that we know." in page.text
    assert page.all("audio") == []


def test_a_codec_that_nobody_plays_is_said_without_calling_the_file_damaged(sent, client, tmp_path):
    film = samples.film(tmp_path / "film", codec="ffv1", container="matroska")

    media = sent(film.read_bytes(), "video/x-matroska")

    assert media.copy_state is CopyState.IMPOSSIBLE
    assert media.copy_problem == "The film is coded in a way that no browser plays."
    assert media.trouble is None
    page = conversation(client, media)
    assert page.all("video") == []
    assert media.copy_problem in page.text


def test_a_cut_voicemail_plays_as_far_as_it_goes_and_says_so(voicemail, client, tmp_path):
    whole = packed(tmp_path, "aac", "ipod", 4.0, 16000)
    index_first = moved_index(whole, tmp_path)

    media = voicemail(index_first[: len(index_first) * 2 // 3])

    assert media.trouble is Trouble.INCOMPLETE
    assert 1.0 < media.duration_seconds < 3.9
    page = conversation(client, media)
    assert len(page.all("audio")) == 1
    assert "The file is incomplete: it plays as far as it goes." in page.text


def moved_index(content: bytes, folder: Any) -> bytes:
    """The same M4A, with its index before its sound."""
    path = folder / "moved.m4a"
    with (
        av.open(io.BytesIO(content)) as source,
        av.open(str(path), "w", format="ipod", options={"movflags": "+faststart"}) as out,
    ):
        track = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    return path.read_bytes()


def test_no_length_that_a_header_claims_stands_on_the_page(voicemail, client):
    lies = bytearray(tone(4.0))
    lies[4:8] = lies[40:44] = b"\xff\xff\xff\xff"  # the recorder never came back to fill it in

    media = voicemail(bytes(lies))

    assert media.duration_seconds == pytest.approx(4.0, abs=0.01)
    assert media.trouble is None
    assert "0:04" in conversation(client, media).text


# --- A film that is seen and does not play --------------------------------------------------


@pytest.fixture
def seen_only(app, tmp_path) -> MediaAttachment:
    """A film of which there is a poster, and of which no copy could be made."""
    film = samples.film(tmp_path / "film", "libx265", "mp4").read_bytes()
    media = keep(film, copy_state=CopyState.IMPOSSIBLE, copy_problem=transcode.TOO_LONG)
    key = f"{media.file_stem}_thumb.jpg"
    place(picture(64, 48), key, holdings.spool(), homes.own())
    media.thumbnail_path, media.width, media.height = key, 320, 240
    media.duration_seconds = 7300.0
    db.session.commit()
    return media


def test_a_film_without_a_copy_shows_its_poster_and_no_player_anywhere(seen_only, client, api):
    slides = client.get(f"/conversations/{seen_only.conversation_id}/slides").json["slides"]
    gallery = Page(client.get("/photos").text)
    page = conversation(client, seen_only)

    assert [(one["video"], one["problem"]) for one in slides] == [(None, transcode.TOO_LONG)]
    assert gallery.all("img", class_="tile__image")
    assert 'data-kind="video"' not in gallery.html
    assert gallery.links(f"/media/{seen_only.id}/playable") == []
    assert page.all("video") == []
    assert transcode.TOO_LONG in page.text
    assert page.links(f"/media/{seen_only.id}?download=1")
    assert api(f"/media/{seen_only.id}").json["problem"] == transcode.TOO_LONG
    assert client.get(f"/media/{seen_only.id}/playable").status_code == 404


def test_it_is_tried_again_when_a_person_asks(seen_only, client):
    assert derivatives.retry(seen_only.id)
    db.session.commit()

    assert derivatives.make_copies(seen_only.id)

    assert len(conversation(client, seen_only).all("video")) == 1


# --- What strangers get ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AIFF", "layer II", "zeros before MP3", "changes its rate"])
def test_a_shared_odd_voicemail_is_whole_and_plays(name, voicemail, log_in, anonymous, tmp_path):
    media = voicemail(ODD[name][0](tmp_path))
    form = {"title": "Call", "lasts": "30", "until": "", "passphrase": "", "media": [str(media.id)]}
    office = log_in("office")
    made = Page(office.get(office.post("/shares", data=form).headers["Location"]).text)
    address = (made.all("input", id="secret")[0]["value"] or "").removeprefix("http://localhost")

    shown = Page(anonymous.get(address).text)
    heard = anonymous.get(f"{address}/1/play")
    saved = anonymous.get(f"{address}/1/download")

    assert len(shown.all("audio")) == 1
    for answer in (heard, saved):
        assert answer.status_code == 200
        assert seconds_of(answer.data)[1] == pytest.approx(media.duration_seconds, abs=0.2)


def test_a_link_from_before_says_of_a_dead_voicemail_that_it_is_damaged(voicemail, anonymous):
    media = voicemail(GARBAGE)
    owner = accounts.add("owner@crack.example", User.Role.OFFICE, "Owner")
    _, token = sharing.create("Call", [media], now() + timedelta(days=1), owner)
    db.session.commit()

    shown = Page(anonymous.get(f"/s/{token}").text)

    assert shown.all("audio") == []
    assert "This voicemail is damaged: nothing in it plays." in shown.text
    assert shown.links("download") == []
