"""The JSON API: for another program, with a token, and as its own description says."""

import hashlib
import uuid

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings

from tests.support.api import TOKEN
from tests.support.pictures import picture
from viewer.extensions import db
from viewer.models import (
    AuditEntry,
    Conversation,
    MediaAttachment,
    WorkRecord,
)
from viewer.office import accounts

State = MediaAttachment.State


@pytest.fixture
def photos(deliver, work, message, provider):
    """Three photos of one customer, safe."""
    urls = [provider.serve(picture(60 + n, 40), content_type="image/jpeg") for n in range(3)]
    deliver(message(media=urls).payload())
    work()
    return db.session.query(MediaAttachment).order_by(MediaAttachment.position).all()


@pytest.fixture
def quote(photos):
    record = WorkRecord(
        kind=WorkRecord.Kind.QUOTE, number="Q-104", title="Crack", amount=125_000,
        conversation_id=photos[0].conversation_id, status=WorkRecord.Status.DRAFT,
    )  # fmt: skip
    db.session.add(record)
    db.session.commit()
    return record


def test_a_program_finds_conversations_files_and_work(api, photos, quote):
    [talk] = api("/conversations").json["items"]
    files = api(f"/media?conversation_id={talk['id']}&kind=photo&is_unfiled=true").json["items"]
    [record] = api("/records?number=Q-104&status=draft").json["items"]
    original = api(f"/media/{photos[0].id}/original")

    assert talk["numbers"] == ["+16175550123"]
    assert {file["id"] for file in files} == {str(photo.id) for photo in photos}
    assert (record["amount"], record["conversation_id"]) == (125_000, talk["id"])
    assert hashlib.sha256(original.data).hexdigest() == photos[0].sha256


def test_a_program_links_and_unlinks_and_twice_is_once(api, photos, quote):
    path = f"/records/{quote.id}/media/{photos[1].id}"
    first = api(path, "put", json={"caption": "North wall"})
    again = api(path, "put")
    linked = api(f"/media/{photos[1].id}").json
    gone = [api(path, "delete").status_code for _ in range(2)]
    after = api(f"/media/{photos[1].id}").json

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json["caption"] == "North wall"
    assert (linked["record_ids"], linked["is_unfiled"]) == ([str(quote.id)], False)
    assert gone == [204, 204]
    assert (after["record_ids"], after["is_unfiled"]) == ([], True)
    trail = db.session.query(AuditEntry).filter(AuditEntry.who == "crm@crack.example")
    assert sorted(entry.action for entry in trail) == ["api.read", "link", "unlink"]


def test_what_is_not_safe_cannot_be_linked(api, photos, quote):
    photos[0].state = State.DAMAGED
    db.session.commit()

    answer = api(f"/records/{quote.id}/media/{photos[0].id}", "put")

    assert (answer.status_code, answer.json["status"]) == (409, 409)


def test_pages_have_no_gap_and_no_repeat(api, photos):
    seen, place = [], ""
    while True:
        page = api(f"/media?limit=1{place}").json
        seen += [file["id"] for file in page["items"]]
        if page["next"] is None:
            break
        place = f"&before={page['next']}"

    assert sorted(seen) == sorted(str(photo.id) for photo in photos)
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    "path",
    ["/media?limit=0", "/media?limit=101", "/media?kind=cheese", "/media?colour=red",
     "/media?limit=1&limit=2", "/media?before=yesterday", "/records?conversation_id=1"],
)  # fmt: skip
def test_what_cannot_be_is_said_for_each_value(api, path):
    answer = api(path)

    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [path.partition("?")[2].partition("=")[0]]


def test_only_a_token_opens_it(api, client, anonymous, user):
    wrong = api("/media", headers={"Authorization": "Bearer nonsense"})
    with_cookie = client.get("/api/v1/media")

    for answer in (wrong, with_cookie, anonymous.get("/api/v1/media")):
        assert (answer.status_code, answer.json["status"]) == (401, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    accounts.disable(user)
    db.session.commit()
    assert api("/media").status_code == 401


def test_errors_are_json_too(api):
    unknown = api(f"/media/{uuid.uuid4()}")

    assert (unknown.status_code, unknown.json["message"]) == (404, "There is no such file.")
    assert api("/nothing").json["status"] == 404
    assert api("/media", "delete").json["status"] == 405


def test_json_without_end_is_refused(api, photos, quote):
    answer = api(
        f"/records/{quote.id}/media/{photos[0].id}", "put",
        data="[" * 30_000, content_type="application/json",
    )  # fmt: skip

    assert (answer.status_code, answer.json["status"]) == (400, 400)


@pytest.fixture
def described(app, api, photos, quote):
    """The API as it describes itself, with real things behind its examples."""
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    real = {
        "conversation_id": db.session.query(Conversation).one().id,
        "media_id": photos[2].id,
        "record_id": quote.id,
    }
    for path in schema.raw_schema["paths"].values():
        for told in path.values():
            for parameter in told["parameters"]:
                if parameter["name"] in real:
                    parameter["schema"] = dict(parameter["schema"])
                    parameter["example"] = str(real[parameter["name"]])
    return schema


@pytest.mark.proof
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_operation_does_what_its_description_says(described, mode):
    """Words that fit the description are answered as it says, words that don't are refused."""
    told = [found.ok() for found in described.get_all_operations()]
    for one in told:

        @given(case=one.as_strategy(generation_mode=mode))
        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        def check(case):
            # Such a one does not get as far as the address: what arrives may fit after all.
            assume(all(value not in (None, [], {}) for value in (case.query or {}).values()))
            case.call_and_validate(
                headers={"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"}
            )

        check()

    assert len(told) == 9
