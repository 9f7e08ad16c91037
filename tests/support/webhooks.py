"""The provider's door, and what came through it."""

import sqlalchemy as sa
from flask import Flask

from viewer import extensions
from viewer.models import WebhookEvent

SECRET = "whsec_dGVzdC1zdGFuZGFyZC1rZXktMjQtYnl0"
LEGACY_SECRET = "dGVzdC1sZWdhY3kta2V5LTMyLWJ5dGVzLWxvbmctMDE="
OUR_NUMBER = "+16175550100"
DOOR = "/webhooks/quo"


def elsewhere(app: Flask) -> sa.Engine:
    """A connection that shares nothing with the application."""
    url = sa.make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    # The application's own SQLite: two copies of it in one process undo each other's locks.
    return sa.create_engine(url, **({"module": extensions.sqlite} if "sqlite" in str(url) else {}))


def kept(app: Flask) -> list[tuple[str, bytes]]:
    """What is in the database, seen through a connection of its own."""
    engine = elsewhere(app)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(WebhookEvent.delivery_id, WebhookEvent.body)).all()
    engine.dispose()
    return [(delivery_id, bytes(body)) for delivery_id, body in rows]
