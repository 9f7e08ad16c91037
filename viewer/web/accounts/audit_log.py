"""The audit log, for owners: who did what, and when."""

import itertools
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, current_app, render_template, request, url_for

from viewer.extensions import db
from viewer.models import AuditEntry
from viewer.office import audit, audit_chain
from viewer.web.access import Role, needs
from viewer.web.date_range import Span, read_span
from viewer.web.formatting import local
from viewer.web.pagination import Cursor, next_cursor

bp = Blueprint("audit_log", __name__, url_prefix="/trail")

PAGE = 100
SEALED_LATE = timedelta(hours=3)  # counters of an hour are sealed soon after it

# Page of each subject type: the endpoint, and the name of its id parameter.
PAGES = {
    "user": ("accounts.users.show", "user_id"),
    "conversation": ("conversations.pages.show", "conversation_id"),
    "media": ("media.details.passport", "media_id"),
    "record": ("work.records.show", "record_id"),
    "share": ("sharing.manage.show", "share_id"),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the audit log: user, action, dates."""

    who: str
    action: str
    span: Span

    @classmethod
    def asked(cls) -> "Filters":
        asked = request.args
        return cls(
            asked.get("who", "").replace("\0", "")[:254],
            asked.get("action", "").replace("\0", "")[:60],
            read_span(asked),
        )

    @property
    def words(self) -> dict[str, str]:
        """Return the query parameters of these filters; empty ones are omitted."""
        given = {"who": self.who, "action": self.action, **self.span.args}
        return {name: words for name, words in given.items() if words}

    @property
    def is_narrow(self) -> bool:
        return bool(self.words)

    def narrow(self, query: sa.Select[AuditEntry]) -> sa.Select[AuditEntry]:
        if self.who:
            query = query.where(AuditEntry.who == self.who)
        if self.action:
            query = query.where(AuditEntry.action == self.action)
        return query.where(*self.span.conditions(AuditEntry.at))


@dataclass(frozen=True, slots=True)
class Row:
    """One entry, ready to be shown."""

    entry: AuditEntry
    what: str
    url: str | None

    @property
    def is_older_than_chain(self) -> bool:
        """Whether it was sealed so late that nothing proves it until then."""
        sealed_at = self.entry.sealed_at
        return sealed_at is not None and sealed_at - self.entry.at > SEALED_LATE


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    lines: list[Row]


@bp.get("")
@needs(Role.OWNER)
def index() -> str:
    """List the audit log, newest first, with filters. Keyset pagination by `?before=`."""
    filters = Filters.asked()
    query = filters.narrow(sa.select(AuditEntry).order_by(AuditEntry.id.desc()))
    if before := request.args.get("before"):
        query = query.where(AuditEntry.id < Cursor.decode(before, (AuditEntry.id,)).key[0])
    found = db.session.scalars(query.limit(PAGE + 1)).all()
    lines = [_row_of(entry) for entry in found[:PAGE]]
    days = [
        Day(day, list(group))
        for day, group in itertools.groupby(lines, key=lambda line: local(line.entry.at).date())
    ]
    return render_template(
        "accounts/audit_log.html",
        days=days,
        older=next_cursor(found, PAGE, AuditEntry.id),
        filters=filters,
        people=_distinct(AuditEntry.who),
        actions={action: audit.describe_action(action) for action in _distinct(AuditEntry.action)},
        nobody=audit.NOBODY,
        chain=audit_chain.state(),
    )


def _row_of(entry: AuditEntry) -> Row:
    return Row(entry, audit.describe_action(entry.action), _page_of(entry))


def _page_of(entry: AuditEntry) -> str | None:
    endpoint, name = PAGES.get(entry.subject_type or "", ("", ""))
    if endpoint not in current_app.view_functions or entry.subject_id is None:
        return None
    values: dict[str, Any] = {name: entry.subject_id}
    return url_for(endpoint, **values)


def _distinct(column: sa.orm.InstrumentedAttribute[str]) -> list[str]:
    """List distinct values (at most 1,000) by a loose index scan, emulated with a recursive CTE.

    One index lookup per value, however long the log is.
    """
    first = sa.select(sa.func.min(column).label("value"))
    steps = first.cte(recursive=True)
    following = sa.select(sa.func.min(column)).where(column > steps.c.value).scalar_subquery()
    steps = steps.union_all(sa.select(following).where(steps.c.value.is_not(None)))
    values = sa.select(steps.c.value).where(steps.c.value.is_not(None)).limit(1_000)
    return [str(value) for value in db.session.scalars(values)]
