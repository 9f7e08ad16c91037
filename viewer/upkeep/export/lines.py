"""One line of the manifest: a stored original, where its bytes are, and what became of the work.

It names customers by an id alone, and leaves out what staff wrote about them (titles, notes,
places): who labels photos need not know whose they are. The key is the exception, as it holds the
customer's number.
"""

import enum
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from viewer.models import MediaAttachment, Message, WorkRecord
from viewer.models.work import OPEN

Kind, Status = WorkRecord.Kind, WorkRecord.Status
Availability = MediaAttachment.Availability


def _in_words(moment: datetime) -> str:
    # Always with microseconds: readers take the form of the first one for that of all.
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


Moment = Annotated[
    AwareDatetime,
    PlainSerializer(_in_words),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}),
]


class Outcome(enum.StrEnum):
    """What became of the work that a file is linked to."""

    PAID = "paid"  # an invoice is
    APPROVED = "approved"  # a quote is
    OPEN = "open"  # something is still to be done
    DECLINED = "declined"  # a quote is
    DONE = "done"  # an appointment is, and there is neither quote nor invoice that tells more
    CANCELED = "canceled"  # or void, or put into the archive before its end


class LinkedWork(BaseModel):
    """A quote, an appointment or an invoice that the file is linked to."""

    model_config = ConfigDict(extra="forbid")

    record_id: uuid.UUID
    kind: WorkRecord.Kind
    status: WorkRecord.Status
    is_archived: bool
    amount: int | None = Field(ge=0, description="In cents.")
    visit: str | None = Field(description="The kind of an appointment, such as Inspection.")
    sent_at: Moment | None = Field(description="Of a quote.")
    starts_at: Moment | None = Field(description="Of an appointment.")
    due_on: date | None = Field(description="Of an invoice.")
    position: int = Field(description="The file's place in the record.")
    caption: str | None = Field(description="Of the file, in this record.")


class Line(BaseModel):
    """One stored original."""

    model_config = ConfigDict(extra="forbid")

    id: uuid.UUID = Field(description="The manifest is sorted by it.")
    key: str = Field(description="Its name in every store. Holds the customer's phone number.")
    address: str = Field(
        description="Where the bytes are: relative to the manifest if it was exported with links,"
        " else file: or s3:, which hold the customer's phone number as well."
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the original, untouched bytes.")
    file_size: int = Field(gt=0, description="Bytes.")
    mime_type: str | None = Field(description="Of the bytes, not as declared.")
    kind: MediaAttachment.MediaType
    role: MediaAttachment.Role
    availability: Literal[Availability.HERE, Availability.INCOMPLETE] = Field(
        description="incomplete: cut or broken as it was sent."
    )
    width: int | None = Field(description="Pixels, as it is shown.")
    height: int | None = Field(description="Pixels, as it is shown.")
    duration_seconds: float | None
    direction: Message.Direction | None = Field(description="incoming: the customer sent it.")
    sent_at: Moment = Field(description="When its message was sent or received, or the call was.")
    stored_at: Moment | None = Field(description="When its bytes were stored here.")
    conversation_id: uuid.UUID
    message_id: uuid.UUID
    customer_id: uuid.UUID | None = Field(
        description="The same for all conversations with the same people; null where nobody knows"
        " with whom it was. Neither name nor number can be told from it."
    )
    caption: str | None
    is_not_needed: bool = Field(description="Somebody said that no work needs it.")
    outcome: Outcome | None = Field(
        description="Of the work that it is linked to: the first of paid, approved, open, declined,"
        " done, canceled that is true of any of it; null where it is linked to nothing."
    )
    links: list[LinkedWork] = Field(description="Sorted by record_id.")
    priced_from: list[uuid.UUID] = Field(
        description="The quotes that were priced from it, as they were sent: their record_ids."
    )
    consent: None = Field(
        default=None,
        description="Whether the customer agreed to more than the work itself. Nobody records that"
        " yet, so it is null, which is no consent.",
    )


_SIGNS = (
    (Outcome.PAID, {(Kind.INVOICE, Status.PAID)}),
    (Outcome.APPROVED, {(Kind.QUOTE, Status.APPROVED)}),
    (Outcome.OPEN, {None}),
    (Outcome.DECLINED, {(Kind.QUOTE, Status.DECLINED)}),
    (Outcome.DONE, {(Kind.APPOINTMENT, Status.DONE)}),
)


def outcome_of(links: Sequence[LinkedWork]) -> Outcome | None:
    """The first of `Outcome` that is true of any of these records."""
    if not links:
        return None
    said = {
        None if link.status in OPEN and not link.is_archived else (link.kind, link.status)
        for link in links
    }
    return next((outcome for outcome, signs in _SIGNS if said & signs), Outcome.CANCELED)


def schema() -> str:
    """The JSON Schema of a line."""
    made = Line.model_json_schema(mode="serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | made, indent=2) + "\n"
