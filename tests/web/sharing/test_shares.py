"""Links for people without an account: what they show, what they never tell, how they end."""

import io
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import argon2
import pytest
import sqlalchemy as sa
import time_machine
from flask import g
from PIL import ExifTags, Image

from tests.conftest import BOTH
from tests.support import factories, homes, samples
from tests.support.crowds import run_all
from tests.support.metadata import MARKERS, PERSON, exif, tagged, telling_jpeg, told
from tests.support.pages import Page, counted
from tests.support.pictures import picture
from tests.support.stored_files import keep, place, stored_bytes
from viewer import derive, holdings
from viewer.extensions import db, now
from viewer.models import AuditEntry, MediaAttachment, Share, Throttle
from viewer.office import filing, sharing

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState
FORM = {"title": "North wall", "lasts": "30", "until": "", "passphrase": ""}


@pytest.fixture
def share(log_in: Callable[..., Any]) -> Callable[..., str]:
    """Make a link through the form, as the office does; its path."""

    def make(*media: MediaAttachment, **words: str) -> str:
        office = log_in("office")
        form = {**FORM, **words, "media": [str(one.id) for one in media]}
        answer = office.post("/shares", data=form)
        assert answer.status_code == 303, Page(answer.text).text
        shown = Page(office.get(answer.headers["Location"]).text)
        [field] = shown.all("input", id="secret")
        return field["value"].removeprefix("http://localhost")

    return make


def small(media: MediaAttachment, content: bytes) -> MediaAttachment:
    """Give it a thumbnail and a preview of its own, without a child that makes them."""
    for name in ("thumbnail", "preview"):
        key = f"{media.file_stem}_{name}.jpg"
        place(content, key, holdings.spool(), homes.own())
        setattr(media, f"{name}_path", key)
    media.width, media.height = 900, 600
    db.session.commit()
    return media


# --- What a stranger sees ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
def test_a_photo_that_came_by_text_goes_out_whole_and_tells_nothing(
    deliver, work, provider, message, anonymous, client, share
):
    sent = telling_jpeg(6)
    deliver(message(media=[provider.serve(sent, content_type="image/jpeg")]).payload())
    work()
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    before = stored_bytes(media)

    address = share(media)
    page = anonymous.get(address)
    one = anonymous.get(f"{address}/1")
    copies = {
        name: anonymous.get(f"{address}/1/{name}") for name in ("thumbnail", "picture", "download")
    }

    assert {name: answer.status_code for name, answer in copies.items()} == {
        "thumbnail": 200, "picture": 200, "download": 200,
    }  # fmt: skip
    assert {name: told(answer.data) for name, answer in copies.items()} == {
        "thumbnail": [], "picture": [], "download": [],
    }  # fmt: skip
    with (
        Image.open(io.BytesIO(sent)) as was,
        Image.open(io.BytesIO(copies["download"].data)) as is_,
    ):
        assert was.tobytes() == is_.tobytes()
        assert dict(is_.getexif()) == {ExifTags.Base.Orientation: 6}
    assert copies["download"].headers["Content-Disposition"] == 'attachment; filename="photo-1.jpg"'
    for text in (page.text, one.text):
        assert "North wall" in text
        for secret in (str(media.id), media.sha256, "617", "0123", *MARKERS):
            assert secret not in text, secret
    assert "1 photo · open until" in Page(page.text).text
    assert stored_bytes(media) == before
    assert client.get(f"/media/{media.id}").data == sent


def test_a_voicemail_and_a_film_play_and_tell_nothing(anonymous, share, tmp_path):
    voice = tagged(samples.sound(tmp_path / "voice", "libmp3lame", "mp3"), "mp3")
    film = tagged(
        samples.film(tmp_path / "film", "libx265", "mov", voice="aac"),
        "mov",
        movflags="use_metadata_tags",
    )
    assert PERSON in told(voice)
    assert PERSON in told(film)
    call = factories.text(factories.customer())
    files = [
        keep(voice, call, role=MediaAttachment.Role.VOICEMAIL, with_copies=True, sent_at=now()),
        keep(film, call, with_copies=True, sent_at=now() - timedelta(hours=1)),
    ]

    address = share(*files)
    page = Page(anonymous.get(address).text)
    played = [anonymous.get(f"{address}/{place}/play") for place in (1, 2)]
    saved = [anonymous.get(f"{address}/{place}/download") for place in (1, 2)]
    part = anonymous.get(f"{address}/2/play", headers={"Range": "bytes=0-99"})

    assert [a.mimetype for a in played] == ["video/mp4", "audio/mpeg"]
    assert [a.mimetype for a in saved] == ["video/quicktime", "audio/mpeg"]
    assert [told(a.data) for a in [*played, *saved]] == [[], [], [], []]
    assert [a["src"] for a in page.all("audio")] == [f"{address}/2/play"]
    assert "1 video and 1 voicemail" in page.text
    assert (part.status_code, part.data) == (206, played[1].data[:100])


def test_what_cannot_be_cleaned_goes_out_as_its_preview_and_documents_not_at_all(
    anonymous, share, log_in
):
    strange = picture()[:2] + b"\xff\xdc\x00\x04\x00\x10" + picture()[2:] + PERSON.encode()
    photo, pdf = small(keep(strange), picture()), keep(b"%PDF-1.7 " + PERSON.encode())
    office = log_in("office")

    form = Page(office.get(f"/shares/new?media={photo.id}&media={pdf.id}").text)
    refused = office.post("/shares", data={**FORM, "media": str(pdf.id)})
    address = share(photo, pdf)
    answer = anonymous.get(f"{address}/1/download")

    assert "Documents carry details that we cannot take out" in form.text
    assert [box["value"] for box in form.all("input", name="media")] == [str(photo.id)]
    assert refused.status_code == 422
    assert (answer.status_code, told(answer.data)) == (200, [])
    assert answer.data.startswith(b"\xff\xd8")
    assert [anonymous.get(f"{address}/2{end}").status_code for end in ("", "/download")] == [
        404
    ] * 2


def test_pages_for_strangers_lead_nowhere_else_and_ask_not_to_be_found(anonymous, share):
    files = [small(keep(), picture()) for _ in range(3)]
    address = share(*files)
    pages = [anonymous.get(f"{address}{end}") for end in ("", "/1", "/2", "/3", "/9", "x")]
    pages.append(anonymous.get(f"{address}/1/thumbnail"))

    assert [answer.status_code for answer in pages] == [200, 200, 200, 200, 404, 404, 200]
    for answer in pages:
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "private" in answer.headers["Cache-Control"]
        assert "Set-Cookie" not in answer.headers
        if answer.mimetype != "text/html":
            continue
        assert answer.headers["Cache-Control"] == "private, no-store"
        found = Page(answer.text)
        assert {"name": "robots", "content": "noindex, nofollow"} in found.all("meta")
        assert found.all("nav", aria_label="Main") == []
        for _, attrs in found.elements:
            for name in ("href", "src", "action"):
                target = attrs.get(name) or address
                assert target.startswith((address, "/static/", "data:,")), target
    assert Page(pages[2].text).all("a", rel="prev")[0]["href"] == f"{address}/1"
    assert Page(pages[2].text).all("a", rel="next")[0]["href"] == f"{address}/3"


def test_a_staff_page_stays_shut_for_who_has_a_link(anonymous, share):
    media = small(keep(), picture())
    anonymous.get(share(media))

    for address in (f"/media/{media.id}", f"/media/{media.id}/thumbnail", "/shares", "/"):
        assert anonymous.get(address).status_code in (302, 401), address


@pytest.mark.parametrize("state", [State.TRASHED, State.DAMAGED])
def test_what_is_put_away_or_damaged_vanishes_and_comes_back(state, anonymous, share):
    gone, stays = small(keep(), picture()), small(keep(), picture())
    address = share(gone, stays, title="Both")
    place = 1 + [one.id for one in sharing.choices([gone.id, stays.id])].index(gone.id)
    ends = ("", "/thumbnail", "/picture", "/download")

    gone.state = state
    db.session.commit()
    while_away = [anonymous.get(f"{address}/{place}{end}").status_code for end in ends]
    page = Page(anonymous.get(address).text)
    gone.state = State.STORED
    db.session.commit()
    back = [anonymous.get(f"{address}/{place}{end}").status_code for end in ends]

    assert while_away == [404] * 4
    assert len(page.all("img")) == 1
    assert back == [200] * 4


# --- Which link opens what -----------------------------------------------------------------


def test_unknown_revoked_and_foreign_links_look_the_same(anonymous, share, log_in):
    mine, other = small(keep(), picture()), small(keep(), picture())
    open_one, revoked = share(mine), share(other, title="Secret title")
    row = db.session.scalars(sa.select(Share).filter_by(title="Secret title")).one()
    log_in("office").post(f"/shares/{row.id}/revocation")
    ends = ("", "/1", "/1/thumbnail", "/1/picture", "/1/play", "/1/download", "/0/thumbnail")

    wrong = (revoked, "/s/" + "A" * 43, "/s/x", f"/s/{row.id}", f"/s/{row.fingerprint}")
    answers = [
        anonymous.get(f"{path}{end}", environ_base={"REMOTE_ADDR": f"198.51.100.{n}"})
        for n, path in enumerate(wrong)
        for end in ends
    ]
    beyond = [anonymous.get(f"{open_one}/{n}/thumbnail") for n in (0, 2, 3, 10**9, 10**30)]

    assert {answer.status_code for answer in [*answers, *beyond]} == {404}
    assert len({answer.data for answer in [*answers, *beyond]}) == 1
    assert "Secret title" not in answers[0].text
    assert anonymous.get(f"{open_one}/1/thumbnail").status_code == 200


def test_a_link_ends_when_it_was_said_to_and_not_before(anonymous, share):
    media = small(keep(), picture())
    with time_machine.travel(datetime(2026, 9, 21, 16, 0, tzinfo=UTC), tick=False):
        week, day = share(media, lasts="7"), share(media, lasts="date", until="2026-10-01")

    def statuses(*moment: int) -> list[int]:
        with time_machine.travel(datetime(*moment, tzinfo=UTC), tick=False):
            return [
                anonymous.get(f"{path}{end}").status_code
                for path in (week, day)
                for end in ("", "/1/download")
            ]

    assert statuses(2026, 9, 28, 15, 59, 59) == [200, 200, 200, 200]
    assert statuses(2026, 9, 28, 16, 0) == [410, 410, 200, 200]
    assert statuses(2026, 10, 2, 3, 59, 59) == [410, 410, 200, 200]  # still October 1 in New York
    assert statuses(2026, 10, 2, 4, 0) == [410] * 4


# --- Passphrases ---------------------------------------------------------------------------


def unlock(browser: Any, address: str, words: str, **headers: Any) -> Any:
    g.pop("csrf_token", None)  # the test's context outlives requests: it is of another browser
    [field] = Page(browser.get(address, **headers).text).all("input", name="csrf_token")
    form = {"passphrase": words, "csrf_token": field["value"]}
    return browser.post(address, data=form, **headers)


def test_a_passphrase_keeps_everything_shut_until_it_is_said(app, share):
    media = small(keep(), picture())
    address = share(media, title="The cellar", passphrase="  Blue  House 12 ")
    other = share(media, title="Another", passphrase="Blue House 12")
    ends = ("/1", "/1/thumbnail", "/1/picture", "/1/download")
    stranger = app.test_client()

    shut = stranger.get(address)
    before = [stranger.get(f"{address}{end}").status_code for end in ends]
    wrong = unlock(stranger, address, "red house 12")
    right = unlock(stranger, address, "blue house 12")
    after = [stranger.get(f"{address}{end}").status_code for end in ("", *ends)]
    still_shut = stranger.get(f"{other}/1/thumbnail").status_code

    assert "The cellar" not in shut.text
    assert before == [404] * 4
    assert wrong.status_code == 401
    assert "That is not the passphrase" in wrong.text
    assert right.status_code == 303
    cookie = right.headers["Set-Cookie"]
    assert {f"Path={address}", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert after == [200] * 5
    assert still_shut == 404
    assert app.test_client().get(f"{address}/1/thumbnail").status_code == 404
    kept = db.session.scalars(sa.select(Share).filter_by(title="The cellar")).one()
    assert kept.passphrase_hash.startswith("$argon2id$")
    assert kept.views == 1  # not those that stood before the door


@pytest.mark.parametrize("words", ["ΰψιλον", "Straße 12", "ﬁne wall", "Été vert"])
def test_a_passphrase_of_any_letters_is_the_one_that_was_said(words):
    spelled = unicodedata.normalize("NFD", words)
    share = Share(passphrase_hash=sharing.hash_passphrase(words))

    for heard in (words, spelled, words.upper(), spelled.lower()):
        assert sharing.is_passphrase(share, heard), heard


def test_a_passphrase_works_over_https_although_no_referrer_is_sent(app, share):
    address = share(small(keep(), picture()), passphrase="blue house")
    stranger = app.test_client()

    answer = unlock(stranger, address, "blue house", base_url="https://localhost")
    forged = stranger.post(address, data={"passphrase": "blue house"})

    assert (answer.status_code, forged.status_code) == (303, 400)


@pytest.mark.proof
def test_guessing_a_passphrase_ends_soon_and_the_customer_gets_in_later(app, share):
    address = share(small(keep(), picture()), passphrase="blue house")
    with time_machine.travel(now(), tick=False) as clock:
        statuses = [
            unlock(app.test_client(), address, f"guess {n}",
                   environ_base={"REMOTE_ADDR": f"198.51.100.{n}"}).status_code
            for n in range(14)
        ]  # fmt: skip
        meanwhile = unlock(app.test_client(), address, "blue house")
        clock.shift(timedelta(hours=1))
        later = unlock(app.test_client(), address, "blue house")

    assert statuses[:10] == [401] * 10
    assert set(statuses[11:]) == {429}
    assert meanwhile.status_code == 429
    assert int(meanwhile.headers["Retry-After"]) > 0
    assert later.status_code == 303


@pytest.fixture
def quick_hash(monkeypatch):
    """Argon2 with the least work: these tests say many passphrases."""
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(sharing, "_hasher", quick)


def guess_until_locked_out(app, address: str) -> int:
    """Wrong passphrases from many addresses; how many were judged."""
    for n in range(1, 40):
        network = {"REMOTE_ADDR": f"198.51.100.{n}"}
        answer = unlock(app.test_client(), address, f"guess {n}", environ_base=network)
        if answer.status_code == 429:
            return n - 1
    raise AssertionError("nobody was told to wait")


@pytest.mark.usefixtures("quick_hash")
def test_guesses_of_strangers_lock_out_no_device_that_knew_the_passphrase(app, share):
    address = share(small(keep(), picture()), passphrase="blue house")
    known, new = app.test_client(), app.test_client()
    with time_machine.travel(now(), tick=False) as clock:
        assert unlock(known, address, "blue house").status_code == 303
        clock.shift(timedelta(hours=13))  # it has to say it again

        assert guess_until_locked_out(app, address) == 10

        assert unlock(new, address, "blue house").status_code == 429
        assert unlock(known, address, "blue house").status_code == 303
        assert "North wall" in known.get(address).text


@pytest.mark.usefixtures("quick_hash")
def test_guesses_lock_out_new_devices_for_minutes_and_not_for_hours(app, share):
    address = share(small(keep(), picture()), passphrase="blue house")
    with time_machine.travel(now(), tick=False) as clock:
        for _ in range(10):
            guess_until_locked_out(app, address)
            clock.shift(timedelta(minutes=5))

        assert unlock(app.test_client(), address, "blue house").status_code == 303


@pytest.mark.usefixtures("quick_hash")
def test_a_known_device_has_ten_tries_and_knows_no_other_passphrase_and_no_other_link(app, share):
    media = small(keep(), picture())
    address = share(media, passphrase="blue house")
    other = share(media, passphrase="blue house")
    known = app.test_client()
    with time_machine.travel(now(), tick=False) as clock:
        unlock(known, address, "blue house")
        clock.shift(timedelta(hours=13))
        [device] = [one for one in known._cookies.values() if one.key == "shared-device"]
        assert device.path == address
        statuses = [unlock(known, address, f"guess {n}").status_code for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2

        known.set_cookie("shared-device", device.value, path=other)
        guess_until_locked_out(app, other)
        assert unlock(known, other, "blue house").status_code == 429

        guess_until_locked_out(app, address)
        kept = db.session.scalars(sa.select(Share).order_by(Share.created_at)).first()
        kept.passphrase_hash = sharing.hash_passphrase("red house")
        db.session.commit()
        assert unlock(known, address, "red house").status_code == 429


# --- How often -----------------------------------------------------------------------------


def test_who_guesses_addresses_is_told_to_wait_and_writes_nothing_more(anonymous, share):
    address = share(small(keep(), picture()))

    statuses = [anonymous.get(f"/s/{n:043}").status_code for n in range(40)]
    with counted() as asked:
        anonymous.get(f"/s/{99:043}")

    assert statuses[:29] == [404] * 29
    assert statuses[-1] == 429
    assert not [
        line for line in asked if line.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN IM"))
    ]
    assert anonymous.get(address).status_code == 200  # the right link still opens


@BOTH
def test_an_address_that_asks_too_often_waits_and_others_do_not(anonymous, share, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_USES", 5)
    address = share(small(keep(), picture()))

    def ask(network: str) -> Any:
        return anonymous.get(address, environ_base={"REMOTE_ADDR": network})

    with time_machine.travel(now(), tick=False) as clock:
        one = [ask("2001:db8::1:1").status_code for _ in range(6)]
        its_neighbor = ask("2001:db8::2:2")
        another = ask("198.51.100.7").status_code
        clock.shift(sharing.WINDOW)
        later = ask("2001:db8::1:1").status_code

    assert one == [200] * 5 + [429]
    assert its_neighbor.status_code == 429
    assert its_neighbor.headers["Retry-After"] == "600"
    assert (another, later) == (200, 200)


def test_the_table_of_askers_stays_small(app, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_ROWS", 50)
    with time_machine.travel(now(), tick=False) as clock:
        for n in range(200):
            sharing.count_use(f"198.51.{n}.1")
            clock.shift(timedelta(seconds=1))
        db.session.commit()

    count = db.session.scalar(sa.select(sa.func.count()).select_from(Throttle))
    assert count <= 50


@BOTH
def test_views_are_counted_each_once_but_not_by_machines_and_not_by_us(
    app, anonymous, share, log_in
):
    address = share(small(keep(), picture()))
    db.session.commit()

    def look() -> None:
        app.test_client().get(address)

    crowd = [threading.Thread(target=look) for _ in range(8)]
    run_all(crowd)
    anonymous.head(address)
    anonymous.get(address, headers={"Sec-Purpose": "prefetch;prerender"})
    anonymous.get(f"{address}/1")
    log_in("field").get(address)

    db.session.expire_all()
    row = db.session.scalars(sa.select(Share)).one()
    assert row.views == 8
    assert abs(row.viewed_at - now()) < timedelta(minutes=5)


def test_a_link_of_200_photos_costs_few_questions_and_no_work(anonymous, share):
    message, few = factories.text(factories.customer()), small(keep(), picture())
    many = factories.files(
        message, 200, thumbnail_path=few.thumbnail_path, preview_path=few.preview_path,
        width=900, height=600, copy_state=CopyState.MADE,
    )  # fmt: skip
    short, long = share(few), share(*many)
    for address in (short, long):  # the first view of an hour is written down
        anonymous.get(address)

    with counted() as asked_short:
        anonymous.get(short)
    with counted() as asked_long:
        page = anonymous.get(long)
    answers = {anonymous.get(f"{long}/{n}/thumbnail").status_code for n in range(1, 201)}

    assert len(Page(page.text).all("img")) == 200
    assert len(asked_short) == len(asked_long) <= 9
    assert answers == {200}
    assert not (holdings.own().root / "shared").exists()  # nothing had to be made
    assert not list((holdings.own().root / ".incoming").glob("*/*"))


def test_a_clean_copy_is_made_once_for_all_who_ask_at_once(app, share):
    address = share(small(keep(telling_jpeg(1)), picture()))
    answers: list[Any] = []

    def ask() -> None:
        answers.append(app.test_client().get(f"{address}/1/download"))

    crowd = [threading.Thread(target=ask) for _ in range(6)]
    run_all(crowd)
    [made] = (holdings.own().root / "shared").rglob("*.jpg")
    written = made.stat().st_mtime_ns
    again = app.test_client().get(f"{address}/1/download")

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.data for answer in answers} == {made.read_bytes()} == {again.data}
    assert made.stat().st_mtime_ns == written


@pytest.fixture
def cleaned(monkeypatch):
    """Whose cleaning was tried; `cleaned.trouble` is what each ends with."""
    tried, real = [], derive.clean

    def clean(source, mime_type, *rest):
        tried.append(mime_type)
        time.sleep(0.2)  # so that requests overlap
        if clean.trouble:
            raise clean.trouble
        return real(source, mime_type, *rest)

    clean.trouble, clean.tried = None, tried
    monkeypatch.setattr(derive, "clean", clean)
    return clean


def test_requests_that_come_at_once_make_one_copy(app, share, cleaned):
    address = share(small(keep(telling_jpeg(1)), picture()))
    answers: list[Any] = []

    def ask() -> None:
        answers.append(app.test_client().get(f"{address}/1/download").status_code)

    run_all([threading.Thread(target=ask) for _ in range(6)])

    assert (answers, cleaned.tried) == ([200] * 6, ["image/jpeg"])


@pytest.mark.parametrize(
    ("trouble", "status"), [(derive.Killed("took too long"), 503), (derive.Unreadable("no"), 404)]
)
def test_a_film_that_cannot_be_cleaned_is_not_tried_at_each_request(
    trouble, status, anonymous, share, cleaned, tmp_path
):
    film = samples.film(tmp_path / "film", "libx264", "mp4")
    media = keep(film.read_bytes(), with_copies=True)
    address = share(media)
    cleaned.trouble = trouble

    answers = [anonymous.get(f"{address}/1/download").status_code for _ in range(3)]
    tried = len(cleaned.tried)
    sharing._failed.clear()  # as if it were later
    cleaned.trouble = None

    assert (answers, tried) == ([status] * 3, 1)
    assert anonymous.get(f"{address}/1/download").status_code == 200


def test_copies_of_a_link_that_ended_are_removed(anonymous, share, client):
    media = small(keep(telling_jpeg(1)), picture())
    address = share(media)
    assert anonymous.get(f"{address}/1/download").status_code == 200

    assert sharing.tidy() == 0
    db.session.scalars(sa.select(Share)).one().revoked_at = now()
    db.session.commit()

    assert sharing.tidy() == 1


def test_when_too_many_copies_are_being_made_people_are_asked_to_come_back(
    anonymous, share, monkeypatch
):
    monkeypatch.setattr(sharing, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(sharing, "PATIENCE", 0.01)
    address = share(small(keep(), picture()))

    with sharing._turns:
        busy = anonymous.get(f"{address}/1/download")
    later = anonymous.get(f"{address}/1/download")

    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert later.status_code == 200


# --- The office's side -----------------------------------------------------------------------


def test_only_the_office_makes_and_sees_links(log_in, anonymous):
    media = keep()
    field, office, owner = log_in("field"), log_in("office"), log_in("owner")

    for browser, status in ((field, 403), (office, 200), (owner, 200), (anonymous, 401)):
        for address in ("/shares", f"/shares/new?media={media.id}"):
            assert browser.get(address, headers={"Accept": "*/*"}).status_code == status
    assert field.post("/shares", data={**FORM, "media": str(media.id)}).status_code == 403
    assert db.session.scalar(sa.select(Share)) is None


def test_strangers_are_not_shown_what_staff_noted_in_a_caption(share, anonymous):
    address = share(keep(caption="Not insured"), title="North wall")

    for path in (address, f"{address}/1"):
        answer = anonymous.get(path)
        assert answer.status_code == 200
        assert "Not insured" not in answer.text


def test_the_address_is_shown_once_and_kept_nowhere(share, log_in):
    address = share(keep(), title="Once")
    token = address.removeprefix("/s/")
    row = db.session.scalars(sa.select(Share)).one()

    again = log_in("office").get(f"/shares/{row.id}")

    assert token not in again.text
    assert "shown once" in again.text
    assert len(token) >= 43
    everything = "".join(
        repr(db.session.execute(table.select()).all()) for table in db.metadata.sorted_tables
    )
    assert row.fingerprint in everything
    assert token not in everything


def test_the_address_is_the_public_one_where_that_is_known(settings, request):
    settings["PUBLIC_URL"] = "https://photos.example"
    share = request.getfixturevalue("share")

    assert re.fullmatch(r"https://photos\.example/s/[\w-]{43,}", share(keep()))


def test_the_last_day_that_was_chosen_is_the_last_on_which_it_works(share, anonymous, log_in):
    with time_machine.travel(datetime(2026, 9, 21, 16, 0, tzinfo=UTC), tick=False) as clock:
        media = small(keep(), picture())
        address = share(media, lasts="date", until="2026-09-26")
        office = log_in("office")
        pages = [
            anonymous.get(address), office.get("/shares"),
            office.get(f"/media/{media.id}/passport"),
            office.get(f"/shares/{db.session.scalars(sa.select(Share.id)).one()}"),
            office.post(f"/media/{media.id}/trash"),
        ]  # fmt: skip
        clock.move_to(datetime(2026, 9, 27, 3, 59, tzinfo=UTC))  # nearly midnight in New York
        at_last = anonymous.get(address).status_code
        clock.move_to(datetime(2026, 9, 27, 4, 0, tzinfo=UTC))
        after = anonymous.get(address).status_code

    for page in pages:
        words = Page(page.text).text
        assert "September 26, 2026" in words
        assert "September 27" not in words
    assert (at_last, after) == (200, 410)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"title": "  "}, "Give it a title"),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"lasts": ""}, "Choose the last day"),
        ({"lasts": "3650"}, "Choose the last day"),
        ({"lasts": "date", "until": ""}, "Choose the last day"),
        ({"lasts": "date", "until": "9999-12-31"}, "Choose the last day"),
        ({"lasts": "date", "until": "2026-09-20"}, "That day is over"),
        ({"lasts": "date", "until": "2027-09-30"}, "a year at most"),
        ({"passphrase": "short"}, "6 to 200 characters"),
        ({"media": []}, "Choose at least one file"),
        ({"media": ["x", "0"]}, "Choose at least one file"),
    ],
)
def test_what_is_wrong_is_said_beside_it_and_nothing_typed_is_lost(wrong, said, log_in):
    office = log_in("office")
    with time_machine.travel(datetime(2026, 9, 21, 16, 0, tzinfo=UTC), tick=False):
        files = [keep(), keep()]
        offered = [str(one.id) for one in files]
        form = {"title": "North wall <b>", "lasts": "7", "until": "", "passphrase": "blue house",
                "offered": offered, "media": offered[:1], **wrong}  # fmt: skip
        answer = office.post("/shares", data=form)

    found = Page(answer.text)
    assert answer.status_code == 422
    assert said in found.text
    assert found.all("input", id="title")[0]["value"] == " ".join(form["title"].split())
    assert found.all("input", id="passphrase")[0]["value"] == form["passphrase"]
    boxes = {b["value"]: "checked" in b for b in found.all("input", name="media")}
    assert boxes == {one: one in form["media"] for one in offered}
    assert db.session.scalar(sa.select(Share)) is None


def test_a_records_files_are_offered_in_its_order_and_kept_in_it(log_in, anonymous):
    office = log_in("office")
    maria = factories.customer()
    job = factories.quote(maria, "Q-7", title="North wall")
    message = factories.text(maria)
    files = [small(keep(picture(colour=c), message), picture(colour=c)) for c in ("red", "blue")]
    made = {link.media_id: link.id for link in filing.link(files, job, None)}
    filing.reorder_links(job, [made[files[1].id], made[files[0].id]])
    db.session.commit()

    form = Page(office.get(f"/shares/new?record={job.id}").text)
    offered = [box["value"] for box in form.all("input", name="media")]
    answer = office.post("/shares", data={**FORM, "record": str(job.id), "media": offered})

    row = db.session.scalars(sa.select(Share)).one()
    assert answer.status_code == 303
    assert "Files of Q-7" in form.text
    assert form.all("input", id="title")[0]["value"] == "North wall"
    assert offered == [str(files[1].id), str(files[0].id)]
    assert [item.media_id for item in row.items] == [files[1].id, files[0].id]
    assert row.record_id == job.id


def test_a_long_choice_comes_from_the_gallery_by_post(log_in):
    office = log_in("office")
    files = factories.files(factories.text(factories.customer()), 501)
    ids = [str(one.id) for one in files]

    form = office.post("/shares/new", data={"media": ids})
    too_many = office.post("/shares", data={**FORM, "media": ids, "offered": ids})
    fine = office.post("/shares", data={**FORM, "media": ids[:500], "offered": ids})

    assert len(Page(form.text).all("input", name="media")) == 501
    assert too_many.status_code == 422
    assert "at most 500 files" in too_many.text
    assert fine.status_code == 303


def test_a_choice_of_nothing_is_a_404(log_in):
    office = log_in("office")
    nobody = "00000000-0000-4000-8000-000000000000"

    for query in ("", "?media=x", f"?media={nobody}", "?record=x", f"?record={nobody}"):
        assert office.get(f"/shares/new{query}").status_code == 404
    assert office.get(f"/shares/{nobody}").status_code == 404
    assert office.post(f"/shares/{nobody}/revocation").status_code == 404
    assert office.get("/shares?show=nonsense").status_code == 404
    assert office.get("/shares?before=x").status_code == 400


@BOTH
def test_links_are_listed_by_how_they_stand_and_whose_they_are(share, log_in, monkeypatch):
    monkeypatch.setattr("viewer.web.sharing.manage.PAGE", 2)
    media, office = keep(), log_in("office")
    with time_machine.travel(datetime(2026, 9, 1, 12, 0, tzinfo=UTC), tick=False):
        share(media, title="Old one", lasts="1")
    for title in ("First", "Second", "Third", "Taken back"):
        share(media, title=title)
    row = db.session.scalars(sa.select(Share).filter_by(title="Taken back")).one()
    office.post(f"/shares/{row.id}/revocation")
    office.post(f"/shares/{row.id}/revocation")
    log_in("owner").post("/shares", data={**FORM, "title": "Hers", "media": str(media.id)})

    def titles(query: str, browser: Any = office) -> list[str]:
        seen, address = [], f"/shares?{query}"
        while address:
            page = Page(browser.get(address).text)
            seen += re.findall(r'class="row__link"[^>]*>([^<]*)<', page.html)
            older = page.links("before=")
            address = older[0] if older else ""
        return seen

    assert titles("") == ["Hers", "Third", "Second", "First"]
    assert titles("whose=mine") == ["Third", "Second", "First"]
    assert titles("show=expired") == ["Old one"]
    assert titles("show=revoked") == ["Taken back"]
    assert titles("show=&whose=mine", log_in("owner")) == ["Hers"]
    trail = db.session.scalars(
        sa.select(AuditEntry).filter_by(subject_id=row.id).order_by(AuditEntry.id)
    ).all()
    assert [(one.action, one.who) for one in trail] == [
        ("share.create", "office@crack.example"),
        ("share.revoke", "office@crack.example"),
    ]
    assert "until 20" in trail[0].words


def test_a_title_of_a_stranger_is_only_words(share, anonymous, log_in):
    nasty = "<script>alert(1)</script> {{7*7}}"
    address = share(small(keep(exif and picture()), picture()), title=nasty)

    for page in (
        Page(anonymous.get(address).text),
        Page(anonymous.get(f"{address}/1").text),
        Page(log_in("office").get("/shares").text),
    ):
        assert nasty in page.text
        assert [one for one in page.all("script") if not one.get("src")] == []


# --- What does not go out whole ----------------------------------------------------------------


@pytest.fixture
def cut_short(monkeypatch):
    """Cleaning may use so little memory that nothing large can be encoded anew."""
    monkeypatch.setattr(derive, "limits_of", lambda *_: derive.Limits(pixels=10_000))


def troubled(content: bytes, preview: bytes) -> MediaAttachment:
    """A photo whose copies met trouble."""
    media = small(keep(content), preview)
    media.copy_problem = "The full-size picture could not be made."
    db.session.commit()
    return media


def test_who_shares_is_told_before_what_goes_out_smaller(log_in, cut_short):
    tiff = troubled(picture(300, 200, kind="TIFF"), picture(90, 60))
    whole = small(keep(telling_jpeg(1)), picture())
    office = log_in("office")
    form = {**FORM, "media": [str(tiff.id), str(whole.id)]}

    refused = office.post("/shares", data=form)
    asked = Page(refused.text)
    made = office.post("/shares", data={**form, "less": str(tiff.id)})
    shown = Page(office.get(made.headers["Location"]).text)

    assert refused.status_code == 422
    assert "1 file would not go out whole" in asked.text
    assert asked.text.count("Goes out smaller than it is") == 1
    assert [field["value"] for field in asked.all("input", name="less")] == [str(tiff.id)]
    assert made.status_code == 303
    assert shown.text.count("Goes out smaller than it is") == 1
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Share)) == 1


def test_who_shares_is_told_before_what_cannot_be_saved_at_all(log_in):
    media = keep(b"\xff\xd8\xff" + b"nothing" * 40)
    media.copy_state, media.copy_problem = CopyState.IMPOSSIBLE, "The picture is damaged."
    db.session.commit()

    refused = log_in("office").post("/shares", data={**FORM, "media": str(media.id)})

    assert refused.status_code == 422
    assert "Can be looked at, but not saved" in Page(refused.text).text


def test_a_file_that_goes_out_whole_is_shared_without_a_question(log_in, share, anonymous):
    original = telling_jpeg(1)
    media = troubled(original[:-900], picture())  # cut, and clean as far as it goes

    address = share(media)

    assert len(anonymous.get(f"{address}/1/download").data) > 1000
    shown = log_in("office").get(f"/shares/{db.session.scalar(sa.select(Share.id))}")
    assert "Goes out smaller" not in shown.text


def test_what_went_out_smaller_is_known_and_goes_with_the_file(app, cut_short):
    media = small(keep(picture(300, 200, kind="TIFF")), picture(90, 60))

    smaller = sharing.clean_copy(media)

    assert smaller.is_smaller
    assert sharing.known_as_less(media) == sharing.SMALLER
    assert smaller.key in sharing.clean_keys(media)
