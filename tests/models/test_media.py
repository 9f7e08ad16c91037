"""The rules that several rooms ask of a file stand on its model, in the words of their indexes."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.stored_files import keep
from viewer.extensions import db, now
from viewer.models import MediaAttachment, WorkRecord
from viewer.models.indexes import condition_on
from viewer.models.media import PARTS

State, Role = MediaAttachment.State, MediaAttachment.Role
SOON, PAST = timedelta(minutes=1), timedelta(minutes=-1)


@pytest.mark.parametrize(
    ("values", "is_due"),
    [
        ({"state": State.PENDING, "next": PAST}, True),
        ({"state": State.NEEDS_ATTENTION, "next": PAST}, True),
        ({"state": State.PENDING, "next": SOON}, False),
        ({"state": State.PENDING, "next": PAST, "openphone_url": None}, False),
        ({"state": State.DOWNLOADING, "next": PAST, "lease": SOON}, False),
        ({"state": State.DOWNLOADING, "next": SOON, "lease": PAST}, True),
        ({"state": State.DAMAGED, "next": PAST, "lease": PAST}, False),
        ({"state": State.STORED, "next": PAST, "lease": PAST}, False),
        ({"state": State.TRASHED, "next": PAST, "lease": PAST}, False),
    ],
)
@BOTH
def test_due_is_what_waits_for_its_time_or_lost_its_job(app, values, is_due):
    moment = now()
    media = keep()
    media.openphone_url = values.get("openphone_url", "https://example.org/a.jpg")
    media.state = values["state"]
    media.next_attempt_at = moment + values["next"]
    media.lease_until = moment + values["lease"] if "lease" in values else None
    db.session.flush()

    found = db.session.scalars(
        sa.select(MediaAttachment.id).where(MediaAttachment.is_due(moment))
    ).all()

    assert found == ([media.id] if is_due else [])


@pytest.mark.parametrize(
    ("condition", "order", "index"),
    [
        (MediaAttachment.is_due, "next_attempt_at", "ix_media_attachments_due"),
        (MediaAttachment.is_due_to_derive, "copy_due_at", "ix_media_attachments_copies_due"),
    ],
)
@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_what_is_due_is_found_by_its_index(app, condition, order, index):
    query = sa.select(MediaAttachment.id).where(condition(now()))
    words = query.order_by(getattr(MediaAttachment, order)).compile(
        db.engine, compile_kwargs={"literal_binds": True}
    )

    plan = " ".join(
        row[3] for row in db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {words}")
    )

    assert index in plan


@pytest.mark.parametrize(
    ("values", "waits"),
    [
        ({}, True),
        ({"is_incoming": False}, False),
        ({"is_linked": True}, False),
        ({"role": Role.VOICEMAIL}, False),
        ({"role": Role.RECORDING}, False),
        ({"not_needed_at": now()}, False),
    ],
)
def test_unfiled_is_an_attachment_sent_to_us_that_nobody_filed(values: dict[str, Any], waits):
    asked = {"is_incoming": True, "is_linked": False}
    asked |= {name: values.pop(name) for name in tuple(values) if name in asked}

    media = MediaAttachment(**{"role": Role.ATTACHMENT} | values)

    assert media.waits_in_tray(**asked) is waits


def test_each_condition_of_an_index_stands_once():
    table = sa.inspect(MediaAttachment).local_table
    used = [
        str(index.dialect_options["sqlite"]["where"])
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    ]

    assert set(used) == set(PARTS.values())


def test_a_condition_names_its_table_and_keeps_its_values():
    said = str(condition_on(WorkRecord, WorkRecord.TO_DO))

    assert said == (
        "(work_records.archived_at IS NULL AND work_records.status IN ('draft', 'sent', 'planned'))"
    )
