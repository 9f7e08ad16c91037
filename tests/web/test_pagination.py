"""Keyset pagination: one cursor for every list, and no address that breaks a page."""

import uuid
from datetime import UTC, datetime

import pytest
from werkzeug.exceptions import BadRequest

from tests.support.factories import customer
from viewer.extensions import db
from viewer.models import AuditEntry, MediaAttachment, SearchEntry, WorkRecord
from viewer.web.media.slides import ORDER
from viewer.web.pagination import INVALID, Cursor

MOMENT = datetime(2026, 9, 21, 14, 5, 9, 123457, UTC)
LAST = datetime(2099, 12, 31, 23, 59, 59, 999999, UTC)
ONE, OTHER = uuid.UUID(int=7), uuid.UUID(int=2**128 - 1)
LISTS = (
    "/?before=", "/photos?before=", "/trash?before=", "/trash?show=deleted&before=",
    "/shares?before=", "/trail?before=", "/search?q=wall&before=",
    "/search?q=wall&show=people&before=", "/unfiled?after=", "/unfiled?show=not-needed&after=",
    "/work?after=", "/work/quotes?after=", "/work/appointments?after=", "/work?q=wall&after=",
    "/photos/slides?around=",
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        ((MOMENT, ONE), (WorkRecord.created_at, WorkRecord.id)),
        ((datetime(1, 1, 1, tzinfo=UTC), OTHER), (WorkRecord.created_at, WorkRecord.id)),
        ((LAST, ONE), (MediaAttachment.sent_at, MediaAttachment.id)),
        ((MOMENT, ONE, 31, OTHER), ORDER),
        ((2**63 - 1,), (SearchEntry.id,)),
        ((1,), (AuditEntry.id,)),
    ],
)
def test_a_cursor_is_read_as_it_was_written(app, key, columns):
    assert Cursor.decode(Cursor(*key).encode(), columns).key == key


def test_addresses_that_were_kept_go_on_working(app):
    by_time, by_id = (WorkRecord.created_at, WorkRecord.id), (SearchEntry.id,)
    micros = 1_789_999_509_123_457

    assert Cursor.decode(f"1789999509.123457_{ONE}", by_time).key == (MOMENT, ONE)
    assert Cursor.decode(f"{micros}_{ONE}", by_time).key == (MOMENT, ONE)  # lists of work
    assert Cursor.decode("48210", by_id).key == (48210,)  # the search, the audit log
    assert Cursor.decode(f"1789999509.123457_{ONE.hex}_2_{OTHER.hex}", ORDER).key == (
        MOMENT,
        ONE,
        2,
        OTHER,
    )  # the gallery


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "_", "1_2", "1_2_3", "nan_0", f"nan_{ONE}", f"inf_{ONE}", f"1e999_{ONE}",
        f"{10**30}_{ONE}", f"{'9' * 9_000}_{ONE}", f"1.0_{ONE}_3", f"-1e17_{ONE}", "-1", "9" * 30,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "columns", [(WorkRecord.created_at, WorkRecord.id), (WorkRecord.id,), (SearchEntry.id,), ORDER]
)
def test_what_no_page_wrote_is_a_400(app, text, columns):
    with app.test_request_context(), pytest.raises(BadRequest) as refused:
        Cursor.decode(text, columns)

    assert refused.value.description == INVALID


@pytest.mark.parametrize("number", ["١", "1.5", " 1", "+1", "1_0", str(2**31)])
def test_a_number_of_a_cursor_is_what_its_column_holds(app, number):
    with app.test_request_context(), pytest.raises(BadRequest):
        Cursor.decode(f"1.0_{ONE}_{number}_{ONE}", ORDER)


@pytest.mark.parametrize("address", LISTS)
def test_every_list_says_that_a_page_link_is_no_longer_valid(log_in, address):
    owner = log_in("owner")
    for text in ("x", "1_2", "9" * 40, "nan_x"):
        answer = owner.get(f"{address}{text}", headers={"Accept": "text/html"})

        assert answer.status_code == 400
        assert INVALID in answer.text


def test_a_conversation_says_so_too(log_in):
    owner, row = log_in("owner"), customer()
    db.session.commit()
    for way in ("before", "after", "around"):
        answer = owner.get(f"/conversations/{row.id}?{way}=x", headers={"Accept": "text/html"})

        assert (answer.status_code, INVALID in answer.text) == (400, True)
