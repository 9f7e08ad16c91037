"""The migrations make the tables that the models speak of, and can be taken back."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import alembic.autogenerate
import alembic.migration
import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import BOTH
from tests.support import every_table
from viewer import create_app
from viewer.extensions import db, is_of_a_model, now
from viewer.models import ApiToken


@pytest.fixture
def empty(database: str, tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """A viewer on a database that nobody ever migrated."""
    if database == "sqlite":
        url = f"sqlite:///{tmp_path}/viewer.db"
    else:
        server = request.getfixturevalue("postgres")
        name = server.create()
        url = server.url(name)
    app = create_app({"DATA_DIR": tmp_path, "DATABASE_URL": url})
    with app.app_context():
        yield app
        db.session.rollback()
        db.engine.dispose()
    if database != "sqlite":
        server.drop(name)


def tables() -> set[str]:
    names = sa.inspect(db.engine).get_table_names()
    return {name for name in names if is_of_a_model(name, "table", {})} - {"alembic_version"}


def differences() -> list[Any]:
    """What autogenerate would still change. Types and server defaults are compared too."""
    with db.engine.connect() as connection:
        context = alembic.migration.MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": is_of_a_model,
            },
        )
        return list(alembic.autogenerate.compare_metadata(context, db.metadata))


@BOTH
def test_migrations_go_up_down_and_up_again(empty):
    flask_migrate.upgrade()
    first = tables()
    flask_migrate.downgrade(revision="base")
    nothing = tables()
    flask_migrate.upgrade()

    assert first == set(db.metadata.tables)
    assert nothing == set()
    assert tables() == first


@BOTH
def test_models_and_migrations_agree(empty):
    flask_migrate.upgrade()

    assert differences() == []
    flask_migrate.check()  # as a person would ask, with our own env.py; it exits where they differ


@BOTH
def test_the_check_would_notice_a_difference(empty):
    flask_migrate.upgrade()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_messages_timeline")

    assert [change[0] for change in differences()] == ["add_index"]


@BOTH
def test_constraints_of_the_database_are_those_of_the_models(empty):
    flask_migrate.upgrade()

    inspector = sa.inspect(db.engine)
    for name, table in db.metadata.tables.items():
        unique = {c.name for c in table.constraints if isinstance(c, sa.UniqueConstraint)}
        checks = {c.name for c in table.constraints if isinstance(c, sa.CheckConstraint)}
        assert {c["name"] for c in inspector.get_unique_constraints(name)} == unique
        assert {c["name"] for c in inspector.get_check_constraints(name)} >= {
            check for check in checks if check and str(check).endswith("stored_has_bytes")
        }


@BOTH
def test_migrating_twice_changes_nothing(empty):
    flask_migrate.upgrade()
    before = tables()

    flask_migrate.upgrade()

    assert tables() == before


def counts() -> dict[str, int]:
    """How many rows each table has; but for the words of the search, which it makes anew."""
    with db.engine.connect() as connection:
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(sa.table(name)))
            for name in sorted(tables() - {"search_entries"})
        }


@pytest.mark.proof
@BOTH
def test_no_migration_loses_a_row_of_a_table_that_stays(empty):
    flask_migrate.upgrade()
    every_table.fill()
    whole = counts()
    assert set(whole.values()) == {1}

    while "catch_up_marks" in counts():  # back to the first of all
        flask_migrate.downgrade()
        stays = {name: rows for name, rows in counts().items() if name in whole}.items()
        assert stays <= whole.items()
        flask_migrate.upgrade(revision="+1")
        assert stays <= counts().items()
        flask_migrate.downgrade()
    flask_migrate.upgrade()

    assert differences() == []


@BOTH
def test_tokens_of_before_keep_what_they_could_do_and_get_an_end(empty):
    flask_migrate.upgrade(revision="0023")
    scopes = {
        "field": ["read", "link"],
        "office": ["read", "link", "write"],
        "owner": ["read", "link", "write", "metrics"],
    }
    with db.engine.begin() as connection:
        for role in scopes:
            ids = {"user_id": uuid.uuid4().hex, "id": uuid.uuid4().hex, "role": role}
            at = {"at": "2026-01-01 00:00:00.000000+00:00"[: 26 if is_sqlite() else 32]}
            connection.execute(
                sa.text(
                    "INSERT INTO users (id, email, name, role, created_at, playback_rate)"
                    " VALUES (:user_id, :role, '', :role, :at, 1)"
                ),
                ids | at,
            )
            connection.execute(
                sa.text(
                    "INSERT INTO api_tokens (id, fingerprint, user_id, name, created_at)"
                    " VALUES (:id, :role, :user_id, :role, :at)"
                ),
                ids | at,
            )

    flask_migrate.upgrade()

    found = db.session.scalars(sa.select(ApiToken)).all()
    assert {token.name: token.scopes for token in found} == scopes
    for token in found:
        assert abs(token.expires_at - now() - timedelta(days=90)) < timedelta(minutes=5)
        assert not token.outlives_password


def is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"
