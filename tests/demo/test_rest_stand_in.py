"""The stand-in of the REST API is as strict as the real one, and knows the company's history."""

from datetime import UTC, datetime

import pytest
import requests

from viewer.demo import company, rest
from viewer.demo.provider import Provider

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
NEW = {"Authorization": "demo-key", "Quo-Api-Version": "2026-03-30"}
V1 = {"Authorization": "demo-key"}


@pytest.fixture
def provider():
    with Provider() as running:
        yield running


@pytest.fixture
def workspace(provider):
    history = company.history(provider, NOW)
    return rest.of_company(provider, history, "http://127.0.0.1:8000/webhooks/quo")


@pytest.fixture
def get(workspace, provider):
    base = workspace.mount(provider)

    def ask(path, headers=NEW, **params):
        return requests.get(base + path, headers=headers, params=params, timeout=60)

    return ask


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/messages", V1, 400),
        ("/messages?limit=51", NEW, 400),
        ("/messages?createdAt[gt]=yesterday", NEW, 400),
        ("/messages", NEW | {"Authorization": "Bearer demo-key"}, 401),
        ("/messages", NEW | {"Authorization": "other"}, 401),
        ("/messages/ACmsg-nobody", NEW, 404),
        ("/v1/messages?phoneNumberId=PNdemo1&participants=%2B16175550101", V1, 400),
        ("/v1/messages?maxResults=100", V1, 400),
        ("/v1/contacts?maxResults=51", V1, 400),
        ("/v1/call-recordings/ACcall-nobody", V1, 404),
    ],
)
def test_a_question_that_is_wrong_is_refused_as_documented(get, path, headers, status):
    answer = get(path, headers)

    assert answer.status_code == status
    assert {"message", "docs", "title"} <= answer.json().keys()
    assert ("code" in answer.json()) is path.startswith("/v1/")


def test_the_whole_history_is_listed_newest_first(get, workspace):
    workspace.rate = 1_000
    listed, after = [], None
    while True:
        answer = get("/messages", limit=50, **({"after": after} if after else {})).json()
        listed += answer["data"]
        after = answer["nextCursor"]
        if after is None:
            break

    assert len(listed) == len(workspace.messages) > 50
    times = [item["createdAt"] for item in listed]
    assert times == sorted(times, reverse=True)


def test_every_call_knows_who_took_part(workspace):
    assert workspace.calls
    assert all(rest.others(call) for call in workspace.calls.values())
    assert any(call.get("voicemail") for call in workspace.calls.values())
    assert workspace.recordings
    assert workspace.contacts


def test_a_stale_place_mark_is_refused(get, workspace):
    workspace.cursor_seconds = -1
    cursor = get("/messages").json()["nextCursor"]

    assert get("/messages", after=cursor).status_code == 400


def test_the_eleventh_request_of_a_second_is_one_too_many(workspace, get, monkeypatch):
    monkeypatch.setattr(rest.time, "monotonic", lambda: 1.0)

    statuses = [get("/phone-numbers").status_code for _ in range(11)]

    assert statuses == [200] * 10 + [429]


@pytest.mark.proof
def test_a_dead_photo_is_alive_under_a_fresh_address(get, provider, workspace):
    message = next(m for m in workspace.messages.values() if m["media"])
    dead = provider.serve(b"", status=404)
    message["media"][0]["url"] = dead

    fresh = get(f"/messages/{message['id']}").json()["data"]["media"][0]["url"]

    assert fresh != dead
    assert requests.get(fresh, timeout=60).content.startswith(b"\xff\xd8")
