"""`viewer db copy`: every row arrives, as it was, or none does (K64)."""

import contextlib
from collections import Counter
from typing import Any

import flask_migrate
import psycopg
import pytest
import sqlalchemy as sa

from tests.support import factories
from tests.support.children import in_child
from tests.upkeep.db_copy.conftest import all_rows, is_empty
from viewer import create_app, failpoint
from viewer.extensions import db, now, sqlite
from viewer.models import AuditEntry, MediaAttachment, Message, ScheduledTask
from viewer.office import worklist
from viewer.search import query
from viewer.upkeep import db_copy
from viewer.upkeep.db_copy import CannotCopy, Different

WAYS = pytest.mark.parametrize(
    ("database", "target"),
    [("sqlite", "new"), ("postgresql", "postgresql"), ("postgresql", "sqlite")],
    indirect=True,
)
NEW = pytest.mark.parametrize("target", ["new"], indirect=True)
SQLITE = pytest.mark.parametrize("target", ["sqlite"], indirect=True)


class Watcher:
    """Does something at a stage of the copy."""

    def __init__(self, stage: str, do: Any) -> None:
        self.stage, self.do = stage, do
        self.told: Counter[str] = Counter()

    def begin(self, stage: str, length: int) -> None:
        self.now = stage
        self.told[f"of {stage}"] = length
        if stage == self.stage:
            self.do()

    def advance(self, count: int) -> None:
        self.told[self.now] += count


# --- What arrives --------------------------------------------------------------------------


@pytest.mark.proof
@WAYS
def test_k64_every_row_of_every_table_arrives_as_it_was(odd_rows, copy, opened, target):
    before = all_rows()
    watcher = Watcher("", None)

    result = copy(progress=watcher)

    with opened(target):
        after = all_rows()
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    for name, rows in before.items():
        assert after[name] == rows, name
    assert all_rows() == before  # of the source nothing was changed
    assert result.tables == {name: len(rows) for name, rows in before.items()}
    assert len(result.hashes) == len(db.metadata.tables)
    for stage in ("copying", "indexing", "comparing"):
        assert watcher.told[stage] == watcher.told[f"of {stage}"]


@pytest.mark.proof
@pytest.mark.parametrize("target", ["postgresql", "sqlite"], indirect=True)
def test_the_copy_is_a_viewer_in_use(odd_rows, copy, opened, target):
    copy()

    with opened(target):
        said = query.search(query.read_terms("zoë quotes 17"), limit=9)
        called = query.search(query.read_terms("ada 555-0123"), people=True, limit=9)
        work = worklist.read_page(worklist.Wanted(terms=query.read_terms("zoë"))).records
        last = db.session.scalar(sa.select(sa.func.max(AuditEntry.id)))
        db.session.add(AuditEntry(who="ada@crack.example", action="login"))
        db.session.commit()
        newest = db.session.scalar(sa.select(sa.func.max(AuditEntry.id)))
    assert (len(said), len(called), len(work)) == (1, 1, 1)
    assert newest == last + 1


@pytest.mark.proof
def test_no_row_of_the_copy_waits_for_a_process_that_is_no_more(busy_rows, copy, opened, target):
    copy()

    with opened(target):
        tasks = db.session.scalars(sa.select(ScheduledTask)).all()
        media = db.session.scalars(sa.select(MediaAttachment)).all()
        db.session.expunge_all()
        db.session.commit()
        assert ScheduledTask.take_lease("sweep", "new:1:sweep", seconds=60, every=10)
        db.session.rollback()
    assert {(one.holder, one.until) for one in tasks} == {(None, None)}
    assert [one.lease_until for one in media] == [None] * len(media)
    [taken_up] = [one for one in media if one.state is MediaAttachment.State.PENDING]
    assert taken_up.next_attempt_at <= now()


@pytest.mark.proof
def test_a_nul_in_text_becomes_the_sign_that_ingest_puts_there(app, copy, opened, target):
    factories.text(factories.customer(), body="a\0crack\0", said={"body": "\0"})

    result = copy()

    assert result.replaced == {"messages": 1}
    with opened(target):
        [message] = db.session.scalars(sa.select(Message))
        assert (message.body, message.said) == ("a\ufffdcrack\ufffd", {"body": "\0"})


@pytest.mark.proof
def test_a_time_that_another_program_wrote_is_the_same_moment(app, copy, opened, target):
    factories.text(factories.customer())
    with db.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE messages SET sent_at = '2026-09-21 16:00:00',"
            " created_at = '2026-09-21T18:00:00.5+02:00'"
        )

    copy()

    with opened(target):
        [message] = db.session.scalars(sa.select(Message))
        assert message.sent_at.isoformat() == "2026-09-21T16:00:00+00:00"
        assert message.created_at.isoformat() == "2026-09-21T16:00:00.500000+00:00"


# --- What is refused -----------------------------------------------------------------------


@pytest.mark.proof
def test_k64_a_writer_that_has_the_file_open_stops_the_copy(app, copy, opened, target, tmp_path):
    factories.customer()
    with contextlib.closing(sqlite.connect(tmp_path / "viewer.db")) as idle:
        idle.execute("SELECT 1 FROM users").fetchall()  # it has read, and does nothing now

        with pytest.raises(CannotCopy, match=r"viewer\.db is in use .*Stop every viewer"):
            copy()

    with opened(target):
        assert is_empty()
    assert copy().rows == 2  # the folder's row is the other


@pytest.mark.proof
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_k64_a_writer_that_is_connected_stops_the_copy(app, copy, database_url, opened, target):
    with (
        psycopg.connect(database_url, application_name="viewer web"),
        pytest.raises(CannotCopy, match=r"in use by viewer web.*Stop every viewer"),
    ):
        copy()

    with opened(target):
        assert is_empty()
    assert copy().rows == 1


@pytest.mark.proof
@WAYS
def test_nobody_writes_while_it_is_copied(app, copy, target, database_url):
    factories.customer()
    refused: list[str] = []

    def write() -> None:
        try:
            if database_url.startswith("sqlite"):
                path = database_url.removeprefix("sqlite:///")
                with contextlib.closing(sqlite.connect(path, timeout=0.1)) as other:
                    other.execute("DELETE FROM conversations")
            else:
                with psycopg.connect(database_url, options="-c lock_timeout=100ms") as other:
                    other.execute("DELETE FROM conversations")
        except (sqlite.OperationalError, psycopg.errors.LockNotAvailable) as locked:
            refused.append(str(locked))

    result = copy(progress=Watcher("comparing", write))

    assert len(refused) == 1
    assert "lock" in refused[0]
    assert result.tables["conversations"] == 1


@pytest.mark.proof
def test_a_target_with_rows_is_refused(app, copy, opened, target):
    factories.customer()
    first = copy()

    with pytest.raises(CannotCopy, match=r"not empty: conversations has rows.*whole or not at"):
        copy()

    with opened(target):
        assert len(all_rows()["conversations"]) == first.tables["conversations"]


@pytest.mark.proof
@NEW
def test_a_target_of_another_kind_is_refused(app, copy, target):
    with psycopg.connect(target) as other:
        other.execute("CREATE TABLE invoices (id int)")

    with pytest.raises(CannotCopy, match=r"tables of another kind \(version none, and"):
        copy()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://viewer:sesame@/gone?host=/nowhere", "The target cannot be used: connection"),
        ("mysql://viewer:sesame@db/viewer", "--to: must begin with sqlite: or postgresql:"),
        ("sesame", "--to: is not a database address"),
        ("sqlite:///{tmp_path}/../{name}/viewer.db", "--to: is the database that is to be copied"),
        ("sqlite:///{tmp_path}/no/folder/viewer.db", "--to: it cannot be used: unable to open"),
    ],
)
def test_an_address_that_is_none_is_refused(app, settings, tmp_path, url, words):
    url = url.format(tmp_path=tmp_path, name=tmp_path.name)

    with pytest.raises(CannotCopy) as refusal:
        db_copy.copy(url, lambda more: create_app(settings | more))

    assert words in str(refusal.value)
    assert "sesame" not in str(refusal.value)


@pytest.mark.proof
def test_what_the_target_refuses_is_named_and_nothing_is_there(app, copy, opened, target):
    factories.text(factories.customer())
    with db.engine.begin() as connection:  # SQLite counts no characters
        connection.exec_driver_sql("UPDATE messages SET status = printf('%.41c', 'x')")

    with pytest.raises(CannotCopy, match=r"value too long .*\(row 1, column status\)"):
        copy()

    with opened(target):
        assert is_empty()


@SQLITE
def test_a_target_that_keeps_something_else_is_found_out(odd_rows, copy, opened, target):
    with opened(target):
        flask_migrate.upgrade()
        with db.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER liar AFTER INSERT ON messages WHEN new.body LIKE '% 17'"
                " BEGIN UPDATE messages SET body = body || ' ' WHERE id = new.id; END"
            )

    with pytest.raises(Different, match="messages has other rows in the target than"):
        copy()

    with opened(target):
        assert is_empty()


# --- Killed --------------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.parametrize(
    ("step", "database", "target"),
    [
        ("migrated", "sqlite", "new"),
        ("copied", "sqlite", "postgresql"),
        ("compared", "sqlite", "postgresql"),
        ("finished", "sqlite", "postgresql"),
        ("copied", "postgresql", "sqlite"),
    ],
    indirect=["database", "target"],
)
def test_k64_killed_at_any_step_nothing_is_there_and_it_is_begun_again(
    odd_rows, copy, opened, target, step, monkeypatch
):
    before = all_rows()
    monkeypatch.setenv(failpoint.VARIABLE, f"db_copy.{step}=kill")
    in_child(copy, expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)

    with opened(target):
        assert is_empty()
    assert copy().tables == {name: len(rows) for name, rows in before.items()}
    with opened(target):
        assert all_rows() == before


@pytest.mark.proof
def test_k64_killed_after_its_end_everything_is_there(odd_rows, copy, opened, target, monkeypatch):
    before = all_rows()
    monkeypatch.setenv(failpoint.VARIABLE, "db_copy.committed=kill")
    in_child(copy, expected=-9)

    with opened(target):
        assert all_rows() == before
