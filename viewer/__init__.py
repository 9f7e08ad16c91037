"""The conversation viewer: photos and voicemails of a phone line, never lost, seen at once."""

from pathlib import Path
from typing import Any

from flask import Flask

from viewer import config, extensions, jobs, logs
from viewer.web import (
    access,
    account,
    api,
    care,
    edges,
    evidence,
    filing,
    filters,
    frame,
    gallery,
    inbox,
    live,
    media,
    offline,
    player,
    search,
    shared,
    shares,
    slides,
    status,
    tappable,
    trail,
    users,
    webhooks,
    wording,
)

ROOT = Path(__file__).parent.parent
DOORS = (
    webhooks,
    account,
    inbox,
    search,
    live,
    gallery,
    offline,
    media,
    filing,
    evidence,
    slides,
    player,
    care,
    shares,
    shared,
    status,
    users,
    trail,
    api,
)


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """The application. `overrides` win over the environment. Raises config.BadSetting."""
    app = Flask(
        __name__,
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
        static_url_path=frame.static_address(ROOT / "static"),
    )
    config.init_app(app, overrides, root=ROOT)
    logs.init_app(app)

    extensions.init_app(app)
    jobs.init_app(app)

    edges.init_app(app)
    access.init_app(app)
    frame.init_app(app)
    offline.init_app(app)
    filters.init_app(app)
    wording.init_app(app)
    tappable.init_app(app)
    for door in DOORS:
        app.register_blueprint(door.bp)
    return app
