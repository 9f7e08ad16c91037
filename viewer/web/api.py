"""The JSON API, version 1: what the forms do, for another program such as a CRM.

A program acts for a user by a token from the account page: `Authorization: Bearer …`. It may do
what is both in the token's scopes and allowed to the user's role. `/api/v1/openapi.json` describes
every operation, with the scopes of which it takes one. It is generated from the models that
validate requests and serialize responses, so it cannot differ from them.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import pydantic
import sqlalchemy as sa
from flask import Blueprint, Response, abort, jsonify, request, url_for
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, MediaLink, WorkRecord
from viewer.models.media import LONGEST_CAPTION
from viewer.office import captions, filing
from viewer.office.names import names_of, title_of
from viewer.web.access import Scope, csrf, current_token, needs_scope, the_user
from viewer.web.layout import absolute_url
from viewer.web.media import files
from viewer.web.pagination import next_cursor, older
from viewer.web.read_counts import note_read
from viewer.web.wording import explanation

bp = Blueprint("api", __name__, url_prefix="/api/v1")
csrf.exempt(bp)  # bearer tokens only: cookies are ignored, so a forged request has no credentials

HEX = "[0-9a-f]"
CURSOR = rf"^\d{{1,10}}\.\d{{6}}_{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}$"
CursorText = Annotated[str, StringConstraints(pattern=CURSOR)]
State = MediaAttachment.State
Row = TypeVar("Row", Conversation, MediaAttachment, WorkRecord)


# --- Requests --------------------------------------------------------------------------------


class Asked(BaseModel):
    """Base of query and body models: an unknown parameter is an error, it is never ignored."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Asked):
    """No parameters."""


class ListQuery(Asked):
    limit: int = Field(50, ge=1, le=100, description="How many at most.")
    before: CursorText | None = Field(None, description="`next` of the page before this one.")


class MediaQuery(ListQuery):
    conversation_id: uuid.UUID | None = None
    kind: MediaAttachment.MediaType | None = None
    is_unfiled: bool | None = Field(None, description="Sent to us, and nobody has filed it yet.")


class RecordQuery(ListQuery):
    conversation_id: uuid.UUID | None = None
    kind: WorkRecord.Kind | None = None
    status: WorkRecord.Status | None = None
    number: str | None = Field(None, max_length=40, description="Exactly, such as Q-104.")
    is_archived: bool = False


class LinkBody(Asked):
    caption: str | None = Field(
        None, max_length=LONGEST_CAPTION, description="Of this file, in this record."
    )


# --- Responses -------------------------------------------------------------------------------


class ConversationOut(BaseModel):
    """All messages and calls between one phone line and the same people."""

    id: uuid.UUID
    title: str
    numbers: list[str] = Field(description="E.164, where the provider gave one.")
    latest_at: AwareDatetime
    page_url: str


class MediaOut(BaseModel):
    """One file of a message or call."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    message_id: uuid.UUID
    kind: MediaAttachment.MediaType
    role: MediaAttachment.Role
    state: MediaAttachment.State
    availability: MediaAttachment.Availability = Field(
        description="Its state in one word, as the pages say it."
    )
    problem: str | None = Field(description="Why it is not simply here, in a sentence.")
    caption: str | None
    mime_type: str | None = Field(description="Of the bytes, not as declared.")
    file_size: int | None = Field(description="Bytes.")
    sha256: str | None = Field(description="Of the original, untouched bytes.")
    width: int | None
    height: int | None
    duration_seconds: float | None
    is_unfiled: bool
    sent_at: AwareDatetime
    original_url: str = Field(description="The bytes, for the same token.")
    page_url: str
    record_ids: list[uuid.UUID] = Field(description="The work it is linked to.")


class LinkOut(BaseModel):
    """The link of a file to a work record."""

    media_id: uuid.UUID
    record_id: uuid.UUID
    position: int
    caption: str | None
    created_at: AwareDatetime


class RecordOut(BaseModel):
    """A quote, an appointment or an invoice."""

    id: uuid.UUID
    kind: WorkRecord.Kind
    conversation_id: uuid.UUID
    number: str | None
    title: str
    status: WorkRecord.Status
    amount: int | None = Field(description="In cents.")
    sent_at: AwareDatetime | None
    starts_at: AwareDatetime | None
    visit: str | None
    place: str | None
    due_on: date | None
    external_reference: str | None
    external_url: str | None
    is_archived: bool
    created_at: AwareDatetime
    updated_at: AwareDatetime
    page_url: str
    links: list[LinkOut]


class Conversations(BaseModel):
    items: list[ConversationOut]
    next: str | None


class MediaList(BaseModel):
    items: list[MediaOut]
    next: str | None


class Records(BaseModel):
    items: list[RecordOut]
    next: str | None


class Problem(BaseModel):
    """An error: a message in one sentence, and in `fields` the reason for each invalid value."""

    status: int
    message: str
    fields: dict[str, str] = {}


# --- Operations ------------------------------------------------------------------------------

Answers = dict[int, type[BaseModel] | str | None]
View = TypeVar("View", bound=Callable[..., Any])

OPERATIONS: list["Operation"] = []
_WORDS = {
    200: "OK", 201: "Created", 204: "No content", 206: "Partial content",
    304: "Not modified", 400: "Invalid request", 401: "Unauthorized: a token is required",
    403: "Forbidden: the token lacks the scope, or its user the role",
    404: "Not found", 409: "Not possible in its present state",
    410: "Gone: the original is damaged", 415: "Unsupported media type: send JSON",
    416: "Range not satisfiable", 425: "Too early: the file is on its way",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """A route and its OpenAPI metadata."""

    path: str
    method: str
    view: Callable[..., Any]
    scopes: tuple[Scope, ...]
    query: type[Asked]
    body: type[Asked] | None
    answers: Answers


def operation(
    path: str,
    answers: Answers,
    *scopes: Scope,
    method: str = "get",
    query: type[Asked] = Nothing,
    body: type[Asked] | None = None,
) -> Callable[[View], View]:
    """Register a view as a route and in the OpenAPI description.

    `answers` maps each status to its model, its media type, or None for an empty body. A token
    needs one of `scopes`.
    """

    def wrap(view: View) -> View:
        bp.add_url_rule(path, view_func=needs_scope(*scopes)(view), methods=[method])
        told = {400: Problem, 401: Problem, 403: Problem} | answers
        OPERATIONS.append(Operation(path, method, view, scopes, query, body, told))
        return view

    return wrap


UUID = {"type": "string", "format": "uuid"}
BYTES = "*/*"  # the media type depends on the file
REF = "#/components/schemas/{model}"
FILE_ANSWERS: Answers = {
    200: BYTES, 206: BYTES, 304: None, 404: Problem, 410: Problem, 416: None, 425: Problem,
}  # fmt: skip


@bp.get("/openapi.json")
def description() -> Response:
    """Describe this API as OpenAPI 3.1."""
    models: set[type[BaseModel]] = {Problem, *(one.body for one in OPERATIONS if one.body)}
    models |= {m for one in OPERATIONS for m in one.answers.values() if isinstance(m, type)}
    schemas: dict[str, Any] = {}
    for model in sorted(models, key=lambda model: model.__name__):
        schema = model.model_json_schema(ref_template=REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        path = re.sub(r"<uuid:(\w+)>", r"{\1}", one.path)
        paths.setdefault(path, {})[one.method] = _described(one)
    return jsonify(
        openapi="3.1.0",
        info={"title": "Conversation viewer", "version": "1", "description": __doc__},
        servers=[{"url": "/api/v1"}],
        security=[{"token": []}],
        paths=paths,
        components={
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    )


@operation("/conversations", {200: Conversations}, Scope.READ, query=ListQuery)
def list_conversations() -> Response:
    """List conversations, the one with the newest message first."""
    asked = _query(ListQuery)
    page, more = _page(sa.select(Conversation), (Conversation.latest_at, Conversation.id), asked)
    names = names_of({number for row in page for number in row.numbers})
    return _answer(Conversations(items=[_conversation(row, names) for row in page], next=more))


@operation(
    "/conversations/<uuid:conversation_id>", {200: ConversationOut, 404: Problem}, Scope.READ
)
def get_conversation(conversation_id: uuid.UUID) -> Response:
    """Get a conversation."""
    _query(Nothing)
    row = db.session.get(Conversation, conversation_id)
    if row is None:
        abort(404, "There is no such conversation.")
    return _answer(_conversation(row, names_of(row.numbers)))


@operation("/media", {200: MediaList}, Scope.READ, query=MediaQuery)
def list_media() -> Response:
    """List files, newest first, without those in the trash."""
    asked = _query(MediaQuery)
    query = sa.select(MediaAttachment).options(selectinload(MediaAttachment.links))
    query = query.where(MediaAttachment.is_listed())
    if asked.conversation_id:
        query = query.where(MediaAttachment.conversation_id == asked.conversation_id)
    if asked.kind:
        query = query.where(MediaAttachment.media_type == asked.kind)
    if asked.is_unfiled:
        query = query.where(MediaAttachment.is_in("unfiled"))
    elif asked.is_unfiled is False:
        query = query.where(MediaAttachment.is_unfiled.is_(False))
    page, more = _page(query, (MediaAttachment.sent_at, MediaAttachment.id), asked)
    return _answer(MediaList(items=[_media(row) for row in page], next=more))


@operation("/media/<uuid:media_id>", {200: MediaOut, 404: Problem}, Scope.READ)
def get_media(media_id: uuid.UUID) -> Response:
    """Get a file, and the work records it is linked to."""
    _query(Nothing)
    return _answer(_media(_find_media(media_id)))


@operation("/media/<uuid:media_id>/original", FILE_ANSWERS, Scope.READ)
def get_original(media_id: uuid.UUID) -> Response:
    """Download the original bytes. Supports Range, If-Range and If-None-Match."""
    _query(Nothing)
    return files.original(media_id)


@operation("/records", {200: Records}, Scope.READ, query=RecordQuery)
def list_records() -> Response:
    """List work records, newest first."""
    asked = _query(RecordQuery)
    query = sa.select(WorkRecord).options(selectinload(WorkRecord.links))
    if asked.conversation_id:
        query = query.where(WorkRecord.conversation_id == asked.conversation_id)
    if asked.kind:
        query = query.where(WorkRecord.kind == asked.kind)
    if asked.status:
        query = query.where(WorkRecord.status == asked.status)
    if asked.number is not None:
        query = query.where(WorkRecord.number == asked.number.replace("\0", ""))
    archived = WorkRecord.archived_at.is_not(None)
    query = query.where(archived if asked.is_archived else ~archived)
    page, more = _page(query, (WorkRecord.created_at, WorkRecord.id), asked)
    return _answer(Records(items=[_record(row) for row in page], next=more))


@operation("/records/<uuid:record_id>", {200: RecordOut, 404: Problem}, Scope.READ)
def get_record(record_id: uuid.UUID) -> Response:
    """Get a work record with its links, in order."""
    _query(Nothing)
    return _answer(_record(_find_record(record_id)))


LINKS = (Scope.LINK, Scope.WRITE)  # either
LINK = "/records/<uuid:record_id>/media/<uuid:media_id>"


@operation(
    LINK,
    {200: LinkOut, 201: LinkOut, 404: Problem, 409: Problem, 415: Problem},
    *LINKS,
    method="put",
    body=LinkBody,
)
def put_link(record_id: uuid.UUID, media_id: uuid.UUID) -> tuple[Response, int]:
    """Link a file to a work record. Idempotent; a caption in the body replaces the old one."""
    _query(Nothing)
    body = _body(LinkBody)
    record, media = _find_record(record_id), _find_media(media_id)
    try:
        made = filing.link([media], record, the_user())
    except filing.NotStored:
        abort(409, "Only a file that is here can be linked.")
    db.session.flush()
    link = made[0] if made else _find_link(record, media)
    assert link is not None  # noqa: S101 - created now, or before
    if "caption" in body.model_fields_set:
        # Its length is checked by the schema; cleaned it is not longer.
        link.caption = captions.clean(body.caption or "") or None
    db.session.commit()
    return _answer(_link(link)), 201 if made else 200


@operation(LINK, {204: None, 404: Problem}, *LINKS, method="delete")
def delete_link(record_id: uuid.UUID, media_id: uuid.UUID) -> tuple[str, int]:
    """Remove the link of a file to a work record; the file stays. Idempotent."""
    _query(Nothing)
    record, media = _find_record(record_id), _find_media(media_id)
    filing.unlink([media], record, the_user())
    db.session.commit()
    return "", 204


@bp.after_request
def _note_read(response: Response) -> Response:
    token = current_token()
    if request.method == "GET" and token is not None and response.status_code < 400:
        note_read("api.read", ("token", token.id), f"{token.name}: {request.url_rule}")
    return response


# --- Validation and serialization ------------------------------------------------------------

Model = TypeVar("Model", bound=Asked)


class Unusable(Exception):
    """The request is invalid: 400. `fields` holds the reason for each invalid value."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__()
        self.fields = fields


@bp.errorhandler(Unusable)
def _say_unusable(error: Unusable) -> tuple[Response, int]:
    problem = Problem(status=400, message="Invalid request", fields=error.fields)
    return _answer(problem), 400


def _query(model: type[Model]) -> Model:
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise Unusable(dict.fromkeys(twice, "is said twice"))
    return _checked(model, request.args.to_dict())


def _body(model: type[Model]) -> Model:
    """Validate the JSON body; without a body, return the model's defaults. Raises Unusable."""
    if not request.get_data():
        return model()
    try:
        values = request.get_json()  # aborts with 415 or 400 if it is not JSON
    except RecursionError:
        abort(400, "This JSON is nested too deeply.")
    return _checked(model, values)


def _checked(model: type[Model], values: Any) -> Model:
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise Unusable(
            {".".join(str(part) for part in one["loc"]) or "body": one["msg"] for one in problems}
        ) from None


def _page(
    query: sa.Select[Row],
    order: tuple[InstrumentedAttribute[datetime], InstrumentedAttribute[uuid.UUID]],
    asked: ListQuery,
) -> tuple[Sequence[Row], str | None]:
    """Return the rows of this page, newest first, and the cursor of the next page."""
    moment, row_id = order
    if asked.before:
        query = query.where(older(moment, row_id, asked.before))
    found = db.session.scalars(
        query.order_by(moment.desc(), row_id.desc()).limit(asked.limit + 1)
    ).all()
    return found[: asked.limit], next_cursor(found, asked.limit, moment, row_id)


def _find_media(media_id: uuid.UUID) -> MediaAttachment:
    row = db.session.get(MediaAttachment, media_id)
    row = row and row.shown_as()
    if row is None or row.state is State.TRASHED:
        abort(404, "There is no such file.")
    return row


def _find_record(record_id: uuid.UUID) -> WorkRecord:
    row = db.session.get(WorkRecord, record_id)
    if row is None:
        abort(404, "There is no such work record.")
    return row


def _find_link(record: WorkRecord, media: MediaAttachment) -> MediaLink | None:
    return db.session.scalar(sa.select(MediaLink).filter_by(record_id=record.id, media_id=media.id))


def _url(endpoint: str, **values: Any) -> str:
    """The URL under PUBLIC_URL; without it the path, which the client resolves."""
    return absolute_url(endpoint, **values) or url_for(endpoint, **values)


def _conversation(row: Conversation, names: dict[str, str]) -> ConversationOut:
    return ConversationOut(
        id=row.id,
        title=title_of(row, names),
        numbers=row.numbers,
        latest_at=row.latest_at,
        page_url=_url("conversations.pages.show", conversation_id=row.id),
    )


def _media(row: MediaAttachment) -> MediaOut:
    return MediaOut(
        **{name: getattr(row, name) for name in MediaOut.model_fields if hasattr(row, name)}
        | {"problem": explanation(row) or None},
        kind=row.media_type,
        original_url=_url("api.get_original", media_id=row.id),
        page_url=_url("media.details.passport", media_id=row.id),
        record_ids=[link.record_id for link in row.links],
    )


def _record(row: WorkRecord) -> RecordOut:
    known = {name: getattr(row, name) for name in RecordOut.model_fields if hasattr(row, name)}
    return RecordOut(
        **known | {"links": [_link(link) for link in row.links]},
        is_archived=row.archived_at is not None,
        page_url=_url("work.records.show", record_id=row.id),
    )


def _link(row: MediaLink) -> LinkOut:
    return LinkOut(**{name: getattr(row, name) for name in LinkOut.model_fields})


def _answer(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), content_type="application/json")


# --- OpenAPI description ---------------------------------------------------------------------


def _described(one: Operation) -> dict[str, Any]:
    places = [
        {"name": name, "in": "path", "required": True, "schema": UUID}
        for name in re.findall(r"<uuid:(\w+)>", one.path)
    ]
    told: dict[str, Any] = {
        "operationId": one.view.__name__,
        "summary": (one.view.__doc__ or "").partition("\n")[0],
        "security": [{"token": [scope]} for scope in one.scopes],
        "parameters": places + _parameters(one.query),
        "responses": {
            str(status): _response(status, answer) for status, answer in one.answers.items()
        },
    }
    if one.body is not None:
        content = {"application/json": {"schema": _ref(one.body)}}
        told["requestBody"] = {"required": False, "content": content}
    return told


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _parameters(query: type[Asked]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=REF)
    kinds = schema.get("$defs", {})

    def plain(told: dict[str, Any]) -> dict[str, Any]:
        """Drop `null` from the types: an optional query parameter is omitted, never null."""
        options = [one for one in told.get("anyOf", [told]) if one.get("type") != "null"]
        [only] = options
        name = only.get("$ref", "").rpartition("/")[2]
        return dict(kinds[name]) if name else {k: v for k, v in only.items() if k != "title"}

    return [
        {
            "name": name,
            "in": "query",
            "description": told.get("description", ""),
            "schema": plain(told),
        }
        for name, told in schema.get("properties", {}).items()
    ]


def _response(status: int, answer: type[BaseModel] | str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"description": _WORDS[status]}
    if isinstance(answer, str):
        told["content"] = {answer: {}}
    elif answer is not None:
        told["content"] = {"application/json": {"schema": _ref(answer)}}
    return told
