"""Serve file bytes: originals and their derivatives.

Untrusted content never runs in our origin: the content type is detected from the bytes, an
allow-list of image, audio and video types is served inline, and everything else as an attachment.
"""

import contextlib
import io
import re
import socket
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from flask import Blueprint, Response, abort, current_app, redirect, request, url_for
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date, is_resource_modified, parse_date
from werkzeug.wrappers import Response as BaseResponse
from werkzeug.wsgi import ClosingIterator

from viewer import derive, holdings, jobs
from viewer.config import settings
from viewer.extensions import begin_writing, db
from viewer.holdings import WrongSize
from viewer.intake import collect, derivatives
from viewer.loopback import is_loopback
from viewer.models import MediaAttachment
from viewer.office import audit, findings
from viewer.storage import Missing, Opened, Unavailable
from viewer.web.access import Role, is_for_programs, local_path, needs
from viewer.web.media import elsewhere
from viewer.web.read_counts import note_read
from viewer.web.wording import AVAILABILITY, plays

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

bp = Blueprint("files", __name__, url_prefix="/media")

State = MediaAttachment.State
CHUNK = 256 * 1024  # bytes
SEND_BUFFER = 128 * 1024  # bytes; the kernel takes twice as many
COPY_TYPES = {"jpg": "image/jpeg", "mp4": "video/mp4", "m4a": "audio/mp4", "mp3": "audio/mpeg"}
CACHING = "private, max-age=31536000, immutable"
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"


class TooEarly(HTTPException):
    """425: the file is known but not stored yet. werkzeug has no class for it."""

    code = 425


@bp.get("/<uuid:media_id>")
def original(media_id: uuid.UUID) -> Response:
    """Serve the original bytes. `?download` saves them, named by date and customer."""
    return _send(_find_media(media_id), "original")


@bp.get("/<uuid:media_id>/thumbnail")
def thumbnail(media_id: uuid.UUID) -> Response:
    """Serve a small JPEG."""
    return _send_copy(_find_media(media_id, may_be_damaged=True), "thumbnail")


@bp.get("/<uuid:media_id>/preview")
def preview(media_id: uuid.UUID) -> Response:
    """Serve a screen-sized JPEG."""
    return _send_copy(_find_media(media_id, may_be_damaged=True), "preview")


@bp.get("/<uuid:media_id>/full")
def full(media_id: uuid.UUID) -> Response:
    """Serve the full-size picture for browsers: the original, or a JPEG of the same size."""
    media = _find_media(media_id)
    if media.full_path is None and derive.KINDS[media.mime_type or ""].browser_plays:
        return original(media_id)
    if (
        media.full_path is None
        and 0 < max(media.width or 0, media.height or 0) <= derive.PREVIEW_SIDE
    ):
        return _send_copy(media, "preview")  # the preview of a small picture is full-size already
    if media.full_path is None and media.copy_state is not MediaAttachment.CopyState.DUE:
        abort(404, "There is no full-size picture of this file. The original can be downloaded.")
    return _send_copy(media, "full")


@bp.get("/<uuid:media_id>/playable")
def playable(media_id: uuid.UUID) -> Response:
    """Serve the playable copy; the original, if every browser plays that."""
    media = _find_media(media_id, may_be_damaged=True)
    if media.is_damaged and not media.has_playable:
        abort(410, _damaged(media))
    if not media.has_playable and plays(media):
        return original(media_id)
    return _send_copy(media, "playable")


@bp.post("/<uuid:media_id>/attempts")
@needs(Role.OFFICE)
def retry(media_id: uuid.UUID) -> BaseResponse:
    """Retry the download of a file now. Idempotent."""
    media = db.get_or_404(MediaAttachment, media_id)
    if collect.retry(media.id):
        audit.note("media.retry", subject=("media", media.id))
    db.session.commit()
    jobs.remind(jobs.INTAKE)
    if wanted := request.form.get("next"):
        return redirect(local_path(wanted), 303)
    return redirect(
        url_for(
            "conversations.pages.show",
            conversation_id=media.conversation_id,
            _anchor=f"message-{media.message_id}",
        ),
        303,
    )


def _find_media(media_id: uuid.UUID, *, may_be_damaged: bool = False) -> MediaAttachment:
    """Load the row, if its bytes may be served: of a damaged original, its intact derivatives.

    Aborts with 404 if unknown, trashed or failed, with 410 if damaged. Raises TooEarly.
    """
    media = db.session.get(MediaAttachment, media_id)
    media = media and media.shown_as()
    if media is None or media.state is State.TRASHED:
        abort(404, "There is no such file.")
    if media.state is State.DAMAGED:
        if may_be_damaged:
            return media
        abort(410, _damaged(media))
    if media.state in (State.NEEDS_ATTENTION, State.CLOSED):
        abort(404, f"{AVAILABILITY[media.availability]}. {media.problem or ''}".strip())
    if not media.is_stored:
        raise TooEarly("This file is on its way.")
    return media


def _damaged(media: MediaAttachment) -> str:
    return " ".join(filter(None, ("The original is damaged.", media.problem)))


def _send_copy(media: MediaAttachment, name: str) -> Response:
    if getattr(media, f"{name}_path") is None:
        if media.copy_state is MediaAttachment.CopyState.DUE:
            raise TooEarly(f"The {name} is being made.")
        abort(404, f"There is no {name} of this file.")
    return _send(media, name)


def _send(media: MediaAttachment, name: str) -> Response:
    key, mime_type, etag = what_to_send(media, name)
    assert key is not None  # noqa: S101 - the callers asked
    inline = mime_type in derive.INLINE_TYPES and "download" not in request.args
    shown_as = disposition(key, inline=inline)
    if inline:
        leads = elsewhere.redirection(media, key, mime_type, shown_as, request.environ)
        if leads is not None:
            return Response(status=302, headers=leads)
    response = send(media, key, mime_type, etag, disposition=shown_as, caching=CACHING)
    is_download = not inline or is_for_programs()
    if name == "original" and is_download and response.status_code in (200, 206):
        note_read("download", ("media", media.id))
    return response


def what_to_send(media: MediaAttachment, name: str) -> tuple[str | None, str, str]:
    """Key, content type and ETag of the original or a derivative; the key is None without one."""
    if name == "original":
        return media.file_path, media.mime_type or "", f'"{media.sha256}"'
    key: str | None = getattr(media, f"{name}_path")
    mime_type = COPY_TYPES[key.rpartition(".")[2]] if key else ""
    return key, mime_type, f'"{(media.sha256 or "")[:32]}-{name}"'


def send(
    media: MediaAttachment, key: str, mime_type: str, etag: str, *, disposition: str, caching: str
) -> Response:
    """Serve a file or a derivative, whole or a range, sandboxed so that nothing in it can run.

    Aborts with 410 if it is damaged or missing, which its row says from then on, with 503 if the
    store does not answer. Raises TooEarly for a derivative that is missing: it is made again.
    """
    try:
        response = _answer_by_proxy(media, key, etag) or _answer(media, key, etag)
    except (Missing, WrongSize) as trouble:
        if key == media.file_path:
            findings.meet(media, trouble)
            abort(410, _damaged(media))
        _make_again(media, key)
    except Unavailable as trouble:
        abort(503, str(trouble))
    may_show = mime_type in derive.INLINE_TYPES
    response.content_type = mime_type if may_show else "application/octet-stream"
    response.headers["Content-Disposition"] = disposition
    # What does not fit this request says nothing of the file.
    response.headers["Cache-Control"] = caching if response.status_code < 400 else "no-store"
    return response


def _make_again(media: MediaAttachment, key: str) -> NoReturn:
    """Have a missing derivative made again. Aborts with 410 where that is impossible."""
    current_app.logger.error("media=%s: %s is not in the store", media.id, key)
    begin_writing()
    is_due = derivatives.make_again(media.id)
    db.session.commit()
    if not is_due:
        abort(410, "This copy is missing from the store.")
    jobs.remind(jobs.COPIES)
    raise TooEarly("This copy is missing from the store and is being made again.")


def _answer_by_proxy(media: MediaAttachment, key: str, etag: str) -> Response | None:
    """Let the reverse proxy send the bytes (X-Accel-Redirect); None where it cannot.

    It handles Range and If-Range itself. Raises Missing, WrongSize, Unavailable.
    """
    # nginx would judge these once more, without our ETag and by the date on its disk: always 412.
    if "If-Match" in request.headers or request.if_unmodified_since or _met_trouble(media):
        return None
    handoff = holdings.hand_off(media, key)
    if handoff is None:
        return None
    modified, headers = _modified_at(media), headers_of(media, etag)
    if status := _by_condition(etag, modified):
        return Response(status=status, headers=headers)
    if handoff.size is not None and (wanted := _wanted_range(etag, modified)):
        start, stop = _span(*wanted, handoff.size)
        if start >= stop:
            return _not_satisfiable(handoff.size, headers)
    return Response(headers=headers | {"X-Accel-Redirect": handoff.location})


def _met_trouble(media: MediaAttachment) -> bool:
    """Whether this is a request that nginx could not answer from the object store (`@viewer`)."""
    status = request.headers.get("X-Object-Failed")
    if status is None or not settings().X_ACCEL_S3_PREFIX:
        return False
    last = re.search(r"\d{3}$", status)  # nginx lists what every server answered
    if last and last[0] != "416":  # that is the client's trouble
        holdings.fallbacks.note(media, f"did not come by nginx, which met {last[0]}")
    return True


def headers_of(media: MediaAttachment, etag: str) -> dict[str, str]:
    """What every answer with bytes of a file says."""
    return {
        "ETag": etag,
        "Last-Modified": http_date(_modified_at(media).astimezone(UTC)),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SANDBOX,
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def _modified_at(media: MediaAttachment) -> datetime:
    return media.downloaded_at or media.created_at


def _answer(media: MediaAttachment, key: str, etag: str) -> Response:
    """Respond 200, 206, 304, 412 or 416, according to RFC 9110.

    Raises Missing, WrongSize, Unavailable.
    """
    modified = _modified_at(media)
    headers = headers_of(media, etag)
    # Opened in any case, so that damage is met; a bucket then sends no bytes.
    if status := _by_condition(etag, modified):
        holdings.open_file(media, key, 0, 0).close()
        return Response(status=status, headers=headers)
    if request.method == "HEAD":
        file = holdings.open_file(media, key, 0, 0)
        return _body(file, file.size, 200, headers)
    wanted = _wanted_range(etag, modified)
    first, end = wanted or (0, None)
    file = holdings.open_file(media, key, max(first, 0), None if end is None else end - first)
    if wanted is None:
        return _body(file, file.size, 200, headers)
    start, stop = _span(first, end, file.size)
    if start >= stop:
        file.close()
        return _not_satisfiable(file.size, headers)
    if first < 0:  # only the size tells where a suffix begins
        file.close()
        file = holdings.open_file(media, key, start)
    headers["Content-Range"] = ContentRange("bytes", start, stop, file.size).to_header()
    return _body(file, stop - start, 206, headers)


def _not_satisfiable(size: int, headers: dict[str, str]) -> Response:
    return Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})


def _by_condition(etag: str, modified: datetime) -> int | None:
    """The status that a condition of the request demands: 412, 304 or none (RFC 9110, 13.2.2)."""
    if request.if_match:
        is_met = request.if_match.star_tag or request.if_match.is_strong(etag.strip('"'))
    else:
        since = request.if_unmodified_since
        is_met = since is None or modified.replace(microsecond=0) <= since
    if not is_met:  # a download is resumed of another version
        return 412
    # werkzeug would answer 304 to an If-Match that does not fit.
    environ = {name: one for name, one in request.environ.items() if name != "HTTP_IF_MATCH"}
    is_modified = is_resource_modified(environ, etag=etag.strip('"'), last_modified=modified)
    return None if is_modified else 304


def _wanted_range(etag: str, modified: datetime) -> tuple[int, int | None] | None:
    """The range to answer with: start, or minus a suffix's length, and exclusive end."""
    if request.method != "GET" or not _range_applies(etag, modified):
        return None
    wanted = request.range
    # Multiple ranges cost us and serve nobody: the full response is always allowed (RFC 9110).
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    return wanted.ranges[0]


def _range_applies(etag: str, modified: datetime) -> bool:
    """Evaluate If-Range: a range of another version would corrupt the client's file."""
    condition = request.headers.get("If-Range")
    if condition is None:
        return True
    date = parse_date(condition)
    # Compare the raw header: a weak tag (W/"…") does not promise the same bytes, and werkzeug
    # drops its W/.
    return condition == etag if date is None else modified.replace(microsecond=0) <= date


def _span(first: int, end: int | None, size: int) -> tuple[int, int]:
    """Resolve a range to start and exclusive end, in bytes; a negative `first` is a suffix range.

    Not werkzeug's range_for_length: it rejects the last 500 bytes of a file that has fewer.
    """
    return max(0, first + size) if first < 0 else first, size if end is None else min(end, size)


def send_bytes(file: Opened, name: str) -> Response:
    """Serve a file of an unknown kind as a download; nothing in it can run."""
    return _body(
        file,
        file.size,
        200,
        {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": SANDBOX,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        },
    )


def _body(file: Opened, length: int, status: int, headers: dict[str, str]) -> Response:
    body: Iterable[bytes] = ()
    if request.method == "HEAD":
        file.close()  # werkzeug does not close the iterator if it sends no body
    else:
        body = body_of(file, request.environ)
    response = Response(body, status=status, headers=headers, direct_passthrough=True)
    response.content_length = length
    response.call_on_close(file.close)  # for a client that disconnects before the first chunk
    return response


def body_of(file: Opened, environ: "WSGIEnvironment") -> Iterable[bytes]:
    """The bytes of the file. The kernel copies them (sendfile), where server and store can."""
    wrap = environ.get("wsgi.file_wrapper")
    if wrap is not None and file.size > CHUNK:  # smaller ones are not worth its system calls
        with contextlib.suppress(io.UnsupportedOperation):
            file.fileno()
            _keep_in_cache(environ)
            wrapped: Iterable[bytes] = wrap(file, CHUNK)
            return wrapped
    return ClosingIterator(_chunks(file), file.close)


def _keep_in_cache(environ: "WSGIEnvironment") -> None:
    """Bound what the kernel buffers for a proxy on this host: 5 MB at about half the CPU.

    Else it lets megabytes pile up, which have left the processor's cache when they are received.
    Other peers are left to the kernel: they need a buffer as large as what is under way to them.
    """
    line = environ.get("gunicorn.socket")
    if line is None or line.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):  # the client has gone, as the server is about to notice
        if is_loopback(line.getpeername()[0]):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _chunks(file: Opened) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def disposition(key: str, *, inline: bool) -> str:
    """The Content-Disposition: saved, a file is named by its date and customer."""
    # Our key is plain ASCII by construction: nothing to encode, no header injection.
    day, customer, name = "-".join(key.split("/")[:3]), key.split("/")[3], key.split("/")[-1]
    return f'{"inline" if inline else "attachment"}; filename="{day}_{customer}_{name}"'
