"""People who come to the viewer with a browser, through its forms; and what they leave behind."""

import contextvars
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient

from viewer.extensions import db
from viewer.models import AuditEntry

PASSWORD = "a crack in the wall"
ANOTHER = "two cracks in the wall"
OWNER = "olivia@crack.example"
START = datetime(2026, 9, 21, 14, 0, tzinfo=UTC)


@dataclass
class Visitor:
    """A browser somewhere, which may or may not have been here before."""

    client: FlaskClient
    address: str = "203.0.113.1"
    forwarded: str | None = None
    agent: str = "Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36"
    base: str = "http://localhost"
    token: str = field(default="", repr=False)

    def get(self, path: str) -> Any:
        answer = self._ask("GET", path)
        if found := re.search(r'name="csrf_token" value="([^"]+)"', answer.text):
            self.token = found[1]
        return answer

    def fetch(self, path: str) -> Any:
        """A file, which holds no form."""
        return self._ask("GET", path)

    def post(self, path: str, **form: str | list[str]) -> Any:
        if not self.token:
            self.get("/login")
        return self._ask("POST", path, data={"csrf_token": self.token, **form})

    def log_in(self, email: str = OWNER, password: str = PASSWORD, **form: str) -> Any:
        answer = self.post("/login", email=email, password=password, **form)
        if answer.status_code == 303:
            self.get("/account")
        return answer

    @property
    def is_in(self) -> bool:
        return bool(self._ask("GET", "/account").status_code == 200)

    def _ask(self, method: str, path: str, **words: Any) -> Any:
        headers = {"User-Agent": self.agent, "Accept": "text/html"}
        if self.forwarded:
            headers["X-Forwarded-For"] = self.forwarded
        # Outside the test's own application context, in which two browsers would share a `g`.
        return contextvars.Context().run(
            self.client.open,
            path,
            method=method,
            headers=headers,
            base_url=self.base,
            environ_base={"REMOTE_ADDR": self.address},
            **words,
        )


def rows(table: Any, **wanted: Any) -> list[Any]:
    """As they are now; without a transaction left open, which would keep others from writing."""
    db.session.close()
    found = list(db.session.scalars(sa.select(table).filter_by(**wanted)))
    db.session.close()
    return found


def trail(action: str) -> list[AuditEntry]:
    return rows(AuditEntry, action=action)


class watched:  # noqa: N801 - reads as a verb
    """What reaches the database meanwhile: verbs and tables."""

    def __init__(self, statements: list[str]) -> None:
        self.statements = statements

    def __enter__(self) -> None:
        sa.event.listen(db.engine, "before_cursor_execute", self._note)

    def __exit__(self, *_: object) -> None:
        sa.event.remove(db.engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        verb, table = re.findall(r"^\w+|(?<=FROM )\w+|(?<=INTO )\w+|(?<=UPDATE )\w+", statement)
        self.statements.append(f"{verb} {table}")
