"""URLs built from patterns are those that Flask builds."""

import uuid

import flask
import pytest

from viewer.web.urls import url_for

ONE, TWO = uuid.uuid4(), uuid.uuid4()


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("conversations.inbox.show", {}),
        ("conversations.inbox.show", {"show": ["unread", "photos"], "line": None}),
        ("conversations.inbox.show", {"show": ("unread", "photos"), "line": None}),
        ("conversations.inbox.show", {"show": (), "line": "PN1"}),
        ("conversations.pages.show", {"conversation_id": ONE}),
        ("conversations.pages.show", {"conversation_id": ONE, "_anchor": "message-1"}),
        ("conversations.pages.show", {"conversation_id": ONE, "before": "1_2", "around": None}),
        ("conversations.pages.show", {"conversation_id": ONE, "_external": True}),
        ("media.files.original", {"media_id": ONE, "download": 1}),
        ("work.linking.choose", {"media": ONE, "next": "/photos?by=day&select=all"}),
        ("work.linking.choose", {"next": "/a b", "media": ONE}),
        ("work.evidence.show", {"record_id": ONE, "evidence_id": TWO}),
        ("search.show", {"q": "“crack” & 50% ünï", "before": 7}),
        ("static", {"filename": "js/live.js"}),
        ("sheets", {"names": "base.page"}),
    ],
)
@pytest.mark.parametrize("root", ["", "/viewer"])
def test_it_is_the_url_that_flask_builds(app, endpoint, values, root):
    for _ in range(2):  # the second comes from the pattern
        with app.test_request_context("/", environ_overrides={"SCRIPT_NAME": root}):
            assert url_for(endpoint, **values) == flask.url_for(endpoint, **values)


def test_ids_take_turns_in_a_pattern(app):
    with app.test_request_context("/"):
        for media_id in (ONE, TWO, ONE):
            found = url_for("media.files.thumbnail", media_id=media_id)

            assert found == f"/media/{media_id}/thumbnail"


def test_a_relative_endpoint_is_of_the_blueprint_that_answers(app):
    with app.test_request_context(f"/conversations/{ONE}"):
        assert url_for(".at_message", message_id=TWO) == f"/messages/{TWO}"
