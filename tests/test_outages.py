"""What does not answer is said once, and once more when it answers: whatever asks meanwhile."""

import psycopg
import pytest
import sqlalchemy as sa

from viewer import create_app, jobs
from viewer.extensions import db, note_outage
from viewer.outages import Outages


def said(caplog):
    return [one.getMessage() for one in caplog.records if one.name == "viewer.outages"]


def test_an_outage_is_said_as_it_begins_and_with_its_count_as_it_ends(caplog):
    outages = Outages()
    outages.end("Redis")
    for number in range(50):
        outages.note("Redis", f"refused {number}")
    outages.note("The database", "gone")
    outages.end("Redis")
    outages.end("Redis")
    outages.note("Redis", "again")

    assert [words.replace("after 0 s", "") for words in said(caplog)] == [
        "Redis does not answer: refused 0",
        "The database does not answer: gone",
        "Redis answers again,  and 50 failures",
        "Redis does not answer: again",
    ]


def error(kind, sqlstate=None, words="", *, is_lost=False):
    cause = type("Refused", (psycopg.OperationalError,), {"sqlstate": sqlstate})(words)
    return kind("SELECT 1", None, cause, connection_invalidated=is_lost)


@pytest.mark.parametrize(
    ("trouble", "is_away"),
    [
        (error(sa.exc.OperationalError), True),
        (error(sa.exc.OperationalError, "57P03"), True),
        (error(sa.exc.OperationalError, "53300"), True),
        (error(sa.exc.InterfaceError, is_lost=True), True),
        (error(sa.exc.OperationalError, "55P03"), False),  # somebody's lock took too long
        (error(sa.exc.ProgrammingError, "42P01"), False),  # no such table: our mistake
    ],
)
def test_what_is_an_outage_of_postgresql_and_what_a_mistake_of_ours(
    trouble, is_away, app, monkeypatch
):
    monkeypatch.setattr(type(db.engine.dialect), "name", "postgresql")

    assert note_outage(trouble) is is_away


@pytest.mark.on_sqlite("its database is a file that goes away")
def test_pages_answer_503_without_a_traceback_and_our_mistakes_500_with_one(
    app, client, monkeypatch, caplog
):
    def ask(path, words):
        def fail(*_):
            raise sa.exc.OperationalError("SELECT 1", None, Exception(words))

        with monkeypatch.context() as patched:
            patched.setattr("viewer.web.conversations.inbox.show", fail)
            patched.setitem(app.view_functions, "conversations.inbox.show", fail)
            patched.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
            return client.get(path, headers={"Accept": "text/html"})

    answers = [ask("/", "disk I/O error") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}
    assert "Nothing is lost" in answers[0].text
    assert len(said(caplog)) == 1
    assert not [one for one in caplog.records if one.exc_info]

    assert ask("/", "no such table: messages").status_code == 500
    assert [one for one in caplog.records if one.exc_info]


def test_reminders_that_nobody_takes_are_one_line(settings, tmp_path, valkey_url, caplog):
    away = create_app(settings | {"REDIS_URL": f"unix://{tmp_path}/nobody"})
    with away.app_context():
        for _ in range(20):
            assert jobs.remind(jobs.INTAKE) is False
        away.extensions["redis"] = create_app(settings).extensions["redis"]
        assert jobs.remind(jobs.INTAKE) is True

    begun, ended = said(caplog)
    assert begun == "Redis does not answer: no worker is reminded (ConnectionError)"
    assert ended.endswith("and 20 failures")
