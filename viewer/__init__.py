"""The conversation viewer: archives and shows the photos and voicemails of a phone line."""

import gc

gc.disable()  # until all is imported: of 1,500 modules nothing is garbage, and to look takes long

from pathlib import Path
from typing import Any

from flask import Flask

from viewer import config, extensions, holdings, jobs, logs
from viewer.web import (
    access,
    accounts,
    api,
    confirmation,
    conversations,
    formatting,
    layout,
    linkify,
    media,
    middleware,
    read_counts,
    redirects,
    search,
    sharing,
    status,
    urls,
    webhooks,
    wording,
    work,
)
from viewer.web.conversations import offline
from viewer.web.media import express

gc.freeze()  # nor is it later: collections are shorter, and forks share these pages
gc.enable()

PACKAGE = Path(__file__).parent
# templates, static and migrations are inside the package in a wheel, beside it in a checkout.
ROOT = PACKAGE if (PACKAGE / "templates").is_dir() else PACKAGE.parent
ROOMS = (webhooks, conversations, media, work, sharing, accounts, search, status, api)


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """Create the application. `overrides` take precedence over the environment.

    Raises config.BadSetting and extensions.UnsafeDatabase.
    """
    app = Flask(
        __name__,
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
        static_url_path=layout.static_address(ROOT / "static"),
    )
    config.init_app(app, overrides, root=ROOT)
    logs.init_app(app)

    extensions.init_app(app)
    holdings.init_app(app)
    jobs.init_app(app)

    express.init_app(app)
    webhooks.init_app(app)
    middleware.init_app(app)
    access.init_app(app)
    confirmation.init_app(app)
    urls.init_app(app)
    redirects.init_app(app)
    layout.init_app(app)
    offline.init_app(app)
    formatting.init_app(app)
    wording.init_app(app)
    linkify.init_app(app)
    read_counts.init_app(app)
    for room in ROOMS:
        app.register_blueprint(room.bp)
    return app
