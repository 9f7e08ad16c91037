"""Public pages and files of a share link, for people without an account.

The secret token in the URL is the only credential. A wrong, a revoked and a missing token get the
same 404; no page here links to any other, and files are addressed only by their position in a
share, never by id.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_wtf.csrf import ValidationError, validate_csrf
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests
from werkzeug.wrappers import Response as BaseResponse

from viewer.config import settings
from viewer.extensions import begin_writing, db, now
from viewer.models import MediaAttachment, Share, ShareItem, Throttle, fingerprint, new_token
from viewer.office import sharing, throttle
from viewer.office.throttle import Allowance
from viewer.storage import StorageError
from viewer.web import access
from viewer.web.devices import address_allowance, client_network
from viewer.web.media import files
from viewer.web.read_counts import note_read
from viewer.web.wording import counted_by_kind, plays, what

bp = Blueprint("public", __name__, url_prefix="/s")

MediaType = MediaAttachment.MediaType

UNLOCKED_FOR = timedelta(hours=12)
KNOWN_FOR = timedelta(days=400)  # the maximum that browsers keep a cookie
# Whoever has the link can use up the tries of people who never knew the passphrase, but not for
# longer: so many guesses are no danger to six characters.
LONGEST_LOCKOUT = timedelta(minutes=5)
NOTHING_HERE = "There is nothing here. Perhaps the link was cut off, or was taken back."
TOO_OFTEN = "That was too often for now. Please wait a few minutes, then try again."
AT_WORK = "Too many files are being prepared. Please try again in a moment."


@dataclass(frozen=True, slots=True)
class Place:
    """One file of a share, and its neighbours."""

    number: int  # 1-based, as shown on the page
    count: int
    item: ShareItem
    before: int | None  # positions of the neighbours; None at the ends
    after: int | None


@bp.get("/<token>")
def page(token: str) -> Response | str:
    """Show all files of the share: photos, videos, recordings."""
    share = _find_share(token)
    _count_use()
    if _is_locked(share):
        return render_template("sharing/locked.html", token=token, wrong=None)
    if _is_a_view():
        begin_writing()
        sharing.count_view(share)
        db.session.commit()
    note_read("share.view", ("share", share.id))
    items = sharing.items_shown(share)
    is_sound = {item.position: item.media.media_type is MediaType.AUDIO for item in items}
    return render_template(
        "sharing/page.html",
        token=token,
        share=share,
        items=items,
        seen=[item for item in items if not is_sound[item.position]],
        heard=[item for item in items if is_sound[item.position]],
    )


@bp.post("/<token>")
def unlock(token: str) -> Response | BaseResponse | tuple[str, int]:
    """Check the passphrase, rate limited; if right, set a cookie for `UNLOCKED_FOR`."""
    share = _find_share(token)
    if share.passphrase_hash is None:
        return redirect(url_for(".page", token=token), 303)
    try:
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        abort(400, "This page was open for too long. Please load it again.")
    device = _read_device(share)
    tries = _allowances(share, device)
    try:
        throttle.count_attempt(*tries)
    except throttle.TooMany as refusal:
        db.session.rollback()
        raise TooManyRequests(TOO_OFTEN, retry_after=_seconds(refusal.wait)) from None
    db.session.commit()  # release the transaction before the slow hash
    if not sharing.is_passphrase(share, request.form.get("passphrase", "")):
        wrong = "That is not the passphrase. Capitals and extra spaces make no difference."
        return render_template("sharing/locked.html", token=token, wrong=wrong), 401
    throttle.forget_failures(*tries)
    db.session.commit()
    response = redirect(url_for(".page", token=token), 303)
    known_for = max(min(KNOWN_FOR, share.expires_at - now()), timedelta())
    for name, value, max_age in (
        (_cookie("shared"), _serializer("shared").dumps(_proof(share)), UNLOCKED_FOR),
        (
            _cookie("shared-device"),
            _serializer("shared device").dumps([*_proof(share), device or new_token()]),
            known_for,
        ),
    ):
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
            path=url_for(".page", token=token),  # scoped to this share
        )
    return response


# The view validates the CSRF token itself: CSRFProtect would also require a Referer, and these
# pages send none.
access.csrf.exempt(unlock)


@bp.get("/<token>/<int:position>")
def one(token: str, position: int) -> str:
    """Show one photo at screen size."""
    share = _open(token)
    items = sharing.items_shown(share)
    places = [item.position for item in items]
    if position not in places:
        abort(404)
    index = places.index(position)
    place = Place(
        number=index + 1,
        count=len(items),
        item=items[index],
        before=places[index - 1] if index else None,
        after=places[index + 1] if index + 1 < len(places) else None,
    )
    return render_template("sharing/one.html", token=token, share=share, place=place)


@bp.get("/<token>/<int:position>/thumbnail")
def thumbnail(token: str, position: int) -> Response:
    """Serve a small JPEG that we generated, without the sender's metadata."""
    return _send_small(_item(token, position)[1], "thumbnail")


@bp.get("/<token>/<int:position>/picture")
def picture(token: str, position: int) -> Response:
    """Serve a screen-sized JPEG that we generated, without the sender's metadata."""
    share, media = _item(token, position)
    note_read("share.view", ("share", share.id))
    return _send_small(media, "preview")


@bp.get("/<token>/<int:position>/play")
def play(token: str, position: int) -> Response:
    """Serve the playable copy of a recording or video, without metadata."""
    share, media = _item(token, position)
    if media.media_type is MediaType.PHOTO or not plays(media):
        abort(404)
    note_read("share.view", ("share", share.id))
    return _send_clean(media, position, to_play=True)


@bp.get("/<token>/<int:position>/download")
def download(token: str, position: int) -> Response:
    """Serve the full-size file, without metadata, as an attachment."""
    share, media = _item(token, position)
    if "Range" not in request.headers:
        _count_use()
    note_read("share.download", ("share", share.id))
    return _send_clean(media, position, to_play=False)


@bp.app_template_filter()
def contents(items: Sequence[ShareItem]) -> str:
    """12 photos and 1 voicemail"""
    parts = counted_by_kind(item.media for item in items)
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# --- Authorization -------------------------------------------------------------------------


def _find_share(token: str) -> Share:
    """Load the share of this token. Aborts with 410 if it has expired, with 404 otherwise.

    Raises TooManyRequests for an address that guesses tokens.
    """
    share = sharing.find_share(token)
    if share is None:
        for guesses in address_allowance("shared-guess", free=30, memory=timedelta(hours=1)):
            _count_guess(guesses)
        abort(404)
    if share.has_expired:
        abort(410, "This link has expired. Ask the person who sent it for a new one.")
    return share


def _open(token: str) -> Share:
    """Load the share of this token. Also aborts with 404 if its passphrase was not entered."""
    share = _find_share(token)
    if _is_locked(share):
        abort(404)
    return share


def _item(token: str, position: int) -> tuple[Share, MediaAttachment]:
    share = _open(token)
    media = sharing.item(share, position)
    if media is None:
        abort(404)
    return share, media


def _is_locked(share: Share) -> bool:
    if share.passphrase_hash is None:
        return False
    try:
        found = _serializer("shared").loads(
            request.cookies.get(_cookie("shared"), ""), max_age=int(UNLOCKED_FOR.total_seconds())
        )
    except BadData:
        return True
    return bool(found != _proof(share))


def _proof(share: Share) -> list[str]:
    return [str(share.id), fingerprint(share.passphrase_hash or "")]


def _cookie(name: str) -> str:
    return f"__Secure-{name}" if current_app.config["SESSION_COOKIE_SECURE"] else name


def _serializer(salt: str) -> URLSafeTimedSerializer:
    keys = [*settings().secret_key_fallbacks, current_app.config["SECRET_KEY"]]  # newest last
    return URLSafeTimedSerializer(keys, salt=salt)


def _is_a_view() -> bool:
    """Whether to count a view: a GET by a customer, not by staff, a HEAD or a prefetch."""
    ahead = "prefetch" in request.headers.get("Sec-Purpose", request.headers.get("Purpose", ""))
    return request.method == "GET" and not ahead and access.current_user() is None


# --- Rate limits ---------------------------------------------------------------------------


def _allowances(share: Share, device: str) -> tuple[Allowance, ...]:
    """The rate limits that a passphrase counts against.

    A device that knew it has one of its own, which nobody else can use up: see `web/devices.py`.
    """
    if device:
        key = f"shared-device:{fingerprint(device)}"
        return (Allowance(key, free=10, memory=timedelta(hours=6)),)
    return (
        *address_allowance("shared-by", free=20, memory=timedelta(hours=1), is_shared=True),
        Allowance(
            f"shared-to:{share.id}", free=10, memory=timedelta(hours=6), longest=LONGEST_LOCKOUT
        ),
    )


def _read_device(share: Share) -> str:
    """The secret of a device that knew the share's present passphrase; empty for any other."""
    try:
        *proof, device = _serializer("shared device").loads(
            request.cookies.get(_cookie("shared-device"), ""),
            max_age=int(KNOWN_FOR.total_seconds()),
        )
    except BadData:
        return ""
    return str(device) if proof == _proof(share) else ""


def _count_use() -> None:
    """Rate limit pages and files by client address. Commits. Raises TooManyRequests."""
    begin_writing()
    is_fine = sharing.count_use(client_network())
    db.session.commit()
    if not is_fine:
        raise TooManyRequests(TOO_OFTEN, retry_after=_seconds(sharing.WINDOW))


def _count_guess(guesses: Allowance) -> None:
    """Rate limit wrong tokens by client address. Raises TooManyRequests.

    Once over the limit it does not write to the database either, so a flood costs no writes.
    """
    row = db.session.get(Throttle, guesses.key)
    if row is not None and row.until is not None:
        left = row.until - now()
        if timedelta() < left <= throttle.LONGEST_WAIT:
            raise TooManyRequests(TOO_OFTEN, retry_after=_seconds(left))
    begin_writing()
    with contextlib.suppress(throttle.TooMany):
        throttle.count_attempt(guesses)
    db.session.commit()


def _seconds(wait: timedelta) -> int:
    return math.ceil(wait.total_seconds())


# --- Files ---------------------------------------------------------------------------------


def _send_small(media: MediaAttachment, name: str) -> Response:
    path: str | None = getattr(media, f"{name}_path")
    if path is None:
        abort(404)
    return _send(media, path, "image/jpeg", name, "inline")


def _send_clean(media: MediaAttachment, position: int, *, to_play: bool) -> Response:
    db.session.commit()  # release the transaction before the copy is made
    try:
        copy = sharing.clean_copy(media, to_play=to_play)
    except sharing.NotClean:
        abort(404)
    except sharing.Busy:
        raise ServiceUnavailable(AT_WORK, retry_after=5) from None
    except StorageError as trouble:
        raise ServiceUnavailable(str(trouble), retry_after=60) from None
    if to_play:
        return _send(media, copy.key, copy.mime_type, "plays", "inline")
    # A generic name: the original's may reveal who took it, our storage name reveals the customer.
    ending = copy.key.rpartition(".")[2]
    name = f"{what(media).replace(' ', '-')}-{position}.{ending}"
    return _send(
        media, copy.key, copy.mime_type, f"whole-{ending}", f'attachment; filename="{name}"'
    )


def _send(
    media: MediaAttachment, key: str, mime_type: str, version: str, disposition: str
) -> Response:
    # Not the original's hash: it would identify the file elsewhere. The ETag derives from our id.
    etag = f'"{fingerprint(f"{media.id} {version}")[:32]}"'
    return files.send(
        media, key, mime_type, etag, disposition=disposition, caching="private, max-age=3600"
    )


# --- Headers and errors --------------------------------------------------------------------


@bp.after_request
def _keep_private(response: Response) -> Response:
    headers = response.headers
    headers["X-Robots-Tag"] = "noindex, nofollow"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "private, no-store")
    if response.status_code >= 400:
        headers["Cache-Control"] = "private, no-store"
    return response


@bp.errorhandler(HTTPException)
def _say(error: HTTPException) -> Response | HTTPException:
    """Render the same neutral page for all errors."""
    if error.code is None or error.code < 400:
        return error
    words = NOTHING_HERE if error.code == 404 else error.description
    response = make_response(render_template("sharing/closed.html", words=words), error.code)
    for name, value in error.get_headers():
        if name == "Retry-After":
            response.headers[name] = value
    return response
