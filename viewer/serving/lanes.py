"""Which of the viewer's requests have threads of their own.

    gunicorn --worker-class viewer.serving.lanes.ViewerWorker wsgi:app

is what `viewer web` runs.
"""

from collections.abc import Mapping

from viewer.extensions import db
from viewer.models import CutConnection
from viewer.serving.connection import SMALL_BODY, Headers
from viewer.serving.worker import LARGE, ClockedWorker
from viewer.web import webhooks

DOOR = frozenset({webhooks.PATH, "/healthz"})
STRANGERS = "/s/"  # share links


class ViewerWorker(ClockedWorker):
    """Deliveries and health checks have threads that neither strangers nor staff can fill."""

    urgent = "door"

    def lanes(self) -> dict[str, int]:
        return {"pages": self.cfg.threads, "strangers": 3, "door": 4, LARGE: 1}

    def lane_of(self, path: str) -> str:
        if path in DOOR:
            return "door"
        return "strangers" if path.startswith(STRANGERS) else "pages"

    def limit_of(self, method: str, path: str, headers: Headers) -> int:
        if method == "POST" and path == webhooks.PATH:
            with self.wsgi.app_context():
                return webhooks.body_limit(dict(headers))
        return SMALL_BODY

    def report(self, cuts: Mapping[str, int]) -> None:
        with self.wsgi.app_context(), db.engine.begin() as connection:
            CutConnection.add(connection, cuts)
