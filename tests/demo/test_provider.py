"""The stand-in of the provider signs as the real one, and its company tells what it promises."""

import base64
import hashlib
import hmac
import io
import itertools
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import av
import pillow_heif
import pytest
import requests
from PIL import Image, ImageChops, ImageOps, ImageStat
from standardwebhooks.webhooks import Webhook

from viewer.demo import company, drawing, film, leaflets
from viewer.demo.provider import Answer, Provider, Request

NEW_SECRET = "whsec_dGVzdC1zdGFuZGFyZC1rZXktMjQtYnl0"
LEGACY_SECRET = "dGVzdC1sZWdhY3kta2V5LTMyLWJ5dGVzLWxvbmctMDE="
NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
SMALL = (320, 240)


class Receiver:
    """A webhook address that keeps what arrives and answers as it is told."""

    def __init__(self, provider: Provider) -> None:
        self.url = f"{provider.url}/hook"
        self.got: list[Request] = []
        self.answers: Iterator[int] = itertools.repeat(204)
        self._lock = threading.Lock()
        provider.mount("/hook", self._take)

    def _take(self, request: Request) -> Answer:
        with self._lock:
            self.got.append(request)
            return Answer(next(self.answers))


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def receiver(provider: Provider) -> Receiver:
    return Receiver(provider)


@pytest.fixture
def history(provider: Provider) -> list[company.Scheduled]:
    return company.history(provider, NOW)


# -- deliveries ------------------------------------------------------------------------------------


def test_a_new_delivery_verifies_with_the_published_library(provider, receiver):
    provider.deliver(receiver.url, {"type": "señor 💧"}, scheme="standard", secret=NEW_SECRET)

    [request] = receiver.got
    opened = Webhook(NEW_SECRET).verify(request.body, dict(request.headers))
    assert opened == {"type": "señor 💧"}
    assert b"\\u" not in request.body


def test_a_legacy_delivery_carries_the_documented_signature(provider, receiver):
    at = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    body = '{"id":"EVtest0002","type":"message.received","data":{"object":{"id":"ACtest0002",'
    body += '"body":"Water coming in 💧 señor"}}}'

    provider.deliver(receiver.url, body.encode(), scheme="legacy", secret=LEGACY_SECRET, at=at)

    # Computed by others for exactly these bytes: the vector utf8_ms of quo-vectors.json.
    [request] = receiver.got
    assert request.headers["openphone-signature"] == (
        "hmac;1;1790000000000;xfPXUQVDKeadKPujcc5iPmgq5wuR1J1SeDWhvJhTZhg="
    )


def test_a_legacy_key_is_decoded_before_it_signs(provider, receiver):
    key = bytes(range(0x80, 0xA0))
    secret = base64.b64encode(key).decode()

    provider.deliver(receiver.url, {"id": "EV1"}, scheme="legacy", secret=secret)

    [request] = receiver.got
    scheme, version, stamp, digest = request.headers["openphone-signature"].split(";")
    signed = hmac.new(key, stamp.encode() + b"." + request.body, hashlib.sha256)
    assert (scheme, version, len(stamp)) == ("hmac", "1", 13)
    assert base64.b64decode(digest) == signed.digest()


# -- media -----------------------------------------------------------------------------------------


def test_an_address_fails_as_often_as_told_and_counts_it(provider):
    url = provider.serve(lambda: b"photo", content_type="image/jpeg", fail_first=2)

    answers = [requests.get(url, timeout=60) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[-1].content == b"photo"
    assert provider.gets(url) == 3


def test_photos_have_no_extension_and_voicemails_have_one(provider):
    photo = provider.serve(b"x")
    voicemail = provider.serve(b"x", path_suffix=".mp3")

    assert re.fullmatch(r"/static/[0-9a-f]{32}", urlsplit(photo).path)
    assert re.fullmatch(r"/static/[0-9a-f]{32}\.mp3", urlsplit(voicemail).path)


def test_a_withdrawn_address_is_gone(provider):
    url = provider.serve(b"x")

    provider.withdraw(url)

    assert requests.get(url, timeout=60).status_code == 404


# -- pictures, voices, papers ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_the_same_seed_draws_the_same_photo(kind):
    once, again, other = (drawing.crack_photo(seed, size=SMALL, kind=kind) for seed in (5, 5, 6))

    assert once.tobytes() == again.tobytes()
    assert once.tobytes() != other.tobytes()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_whoever_obeys_the_tag_sees_the_photo_upright(format, orientation):
    upright = drawing.crack_photo(5, size=(240, 320))

    stored = Image.open(io.BytesIO(drawing.encode(upright, format, orientation)))

    shown = ImageOps.exif_transpose(stored).convert("RGB")
    difference = ImageStat.Stat(ImageChops.difference(shown, upright)).mean
    assert stored.getexif()[0x0112] == orientation
    assert shown.size == upright.size
    assert max(difference) < 12


def test_no_photo_says_where_it_was_taken():
    stored = Image.open(io.BytesIO(drawing.encode(drawing.crack_photo(5, size=SMALL))))

    gps = stored.getexif().get_ifd(0x8825)
    assert not gps


def test_a_heic_or_png_photo_is_upright_whatever_the_tag():
    photo = drawing.crack_photo(5, size=SMALL)

    heic, png = (drawing.encode(photo, format, 6) for format in ("HEIC", "PNG"))

    assert pillow_heif.open_heif(io.BytesIO(heic)).size == SMALL
    assert Image.open(io.BytesIO(png)).size == SMALL


@pytest.mark.proof
@pytest.mark.parametrize(
    ("sent", "codecs"),
    [
        (lambda: film.mp3("thank-you"), ["mp3float"]),
        (lambda: film.amr("thank-you"), ["amrnb"]),
        (lambda: film.voice_3gp("thank-you"), ["amrnb"]),
        (lambda: film.pan(5, "mp4", voice="bulkhead"), ["h264", "aac"]),
        (lambda: film.pan(5, "3gp", voice="bulkhead"), ["h263", "amrnb"]),
    ],
    ids=["mp3", "amr", "memo", "mp4", "3gp"],
)
def test_sound_and_film_are_what_phones_send(sent, codecs):
    with av.open(io.BytesIO(sent())) as opened:
        found = [stream.codec_context.name for stream in opened.streams]
        seconds = opened.duration / av.time_base

    assert found == codecs
    assert 4.5 < seconds < 16


def test_the_report_is_a_pdf_whose_table_points_at_its_objects():
    report = leaflets.pdf("Tom (Brennan)", "block")

    start = int(re.search(rb"startxref\n(\d+)", report)[1])
    places = [int(n) for n in re.findall(rb"(\d{10}) 00000 n", report[start:])]
    assert report.startswith(b"%PDF-1.4")
    assert [report[p:].split(b" ", 1)[0] for p in places] == [b"1", b"2", b"3", b"4", b"5"]


# -- the story -------------------------------------------------------------------------------------


def test_the_history_spans_three_months_oldest_first_and_never_the_future(history):
    times = [delivery.at for delivery in history]

    assert times == sorted(times)
    assert NOW - timedelta(hours=1) < times[-1] <= NOW
    assert timedelta(days=70) < NOW - times[0] < timedelta(days=95)


def test_the_history_holds_what_is_promised(history):
    kinds = Counter(delivery.payload["type"] for delivery in history)
    versions = {delivery.payload["apiVersion"] for delivery in history}
    types = Counter(m.get("type") for m in _media(history))

    assert len(_conversations(history)) == 40
    assert versions == {"v3", "v4", "2026-03-30"}
    assert kinds["contact.updated"] >= 30
    assert kinds["call.voicemail.completed"] + _voicemails_inside_calls(history) >= 10
    assert _voicemails_inside_calls(history) > 0
    assert kinds["call.recording.completed"] == 1
    assert kinds["call.transcript.completed"] == kinds["call.summary.completed"] == 1
    assert kinds["message.failed"] > 0
    assert kinds["message.undelivered"] > 0
    assert 140 <= sum(n for kind, n in types.items() if not kind or "image/" in kind) <= 165
    assert {"image/png", "image/webp", "application/pdf", "text/vcard"} <= set(types)
    assert types["image/heic"] > 3


def test_the_history_serves_every_format_and_every_trouble(provider, history):
    served = list(provider._served.values())

    kinds = Counter(item.content_type for item in served)
    assert {"video/mp4", "video/3gpp", "audio/amr", "audio/3gpp", "text/html"} <= set(kinds)
    assert [item.fail_first for item in served if item.fail_first] == [2]
    assert [item.status for item in served if item.status != 200] == [404]


def test_both_group_texts_name_everybody(history):
    joined = [s for s in history if "," in str(_said(s).get("to", ""))]
    listed = [
        s
        for s in history
        if len(s.payload["data"].get("context", {}).get("recipientIdentifiers", [])) > 1
    ]

    assert joined
    assert listed


def test_the_history_is_told_the_same_twice(provider, history):
    again = company.history(provider, NOW)

    assert again == history
    assert len({delivery.delivery_id for delivery in history}) == len(history)


def test_what_trickles_in_never_repeats_an_id(provider, history):
    news = list(itertools.islice(company.trickle(provider, NOW), 60))

    ids = [delivery.delivery_id for delivery in history + news]
    pauses = [b.at - a.at for a, b in itertools.pairwise(news)]
    assert len(set(ids)) == len(ids)
    assert max(pauses) < timedelta(seconds=120)


def test_play_repeats_what_was_refused_and_signs_everything(provider, receiver, monkeypatch):
    monkeypatch.setattr(company, "RETRY_SECONDS", (0, 0, 0))
    receiver.answers = itertools.chain([503, 401, 302], itertools.repeat(204))
    stop = threading.Event()
    accepted: list[int] = []

    def told(count: int) -> None:
        accepted.append(count)
        stop.set()

    secrets = company.Secrets(standard=NEW_SECRET, legacy=LEGACY_SECRET)
    company.play(provider, receiver.url, secrets, stop, now=NOW, on_history_told=told)

    expected = len(company.history(provider, NOW))
    assert accepted == [expected]
    assert len(receiver.got) == expected + 3
    for request in receiver.got:
        _verify(request)


def _verify(request: Request) -> None:
    if "webhook-id" in request.headers:
        Webhook(NEW_SECRET).verify(request.body, dict(request.headers))
        return
    _, _, stamp, digest = request.headers["openphone-signature"].split(";")
    key = base64.b64decode(LEGACY_SECRET)
    signed = hmac.new(key, stamp.encode() + b"." + request.body, hashlib.sha256)
    assert base64.b64decode(digest) == signed.digest()


def _said(delivery: company.Scheduled) -> dict:
    data = delivery.payload["data"]
    return data.get("resource") or data["object"]


def _media(history: list[company.Scheduled]) -> list[dict]:
    messages = [_said(s) for s in history if s.payload["type"].startswith("message.")]
    return [item for said in messages for item in said.get("media", [])]


def _conversations(history: list[company.Scheduled]) -> set[str]:
    return set(re.findall(r"CNdemo\d+", str([delivery.payload for delivery in history])))


def _voicemails_inside_calls(history: list[company.Scheduled]) -> int:
    return sum(bool(_said(delivery).get("voicemail")) for delivery in history)


def test_a_client_that_drops_the_connection_it_kept_leaves_no_traceback(provider, capfd):
    host, before = urlsplit(provider.serve(b"a photo")), set(threading.enumerate())
    line = socket.create_connection((host.hostname, host.port))
    line.sendall(f"GET {host.path} HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
    assert line.recv(12) == b"HTTP/1.1 200"

    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    line.close()

    while set(threading.enumerate()) - before:  # its own thread
        time.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err
