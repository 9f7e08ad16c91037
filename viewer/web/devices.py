"""Devices that were logged in before, and those that never were.

A stranger's wrong guesses must stop, and must not lock anybody out: so a device that was once
logged in has an allowance of its own, which nobody else can use up. It is told by a signed cookie
that opens nothing, and outlives the logout (OWASP calls it a device cookie).
"""

import ipaddress
import uuid
from datetime import timedelta

from flask import current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from viewer.config import settings
from viewer.models import User, fingerprint, new_token
from viewer.office import accounts
from viewer.office.throttle import Allowance

LASTS = timedelta(days=400)  # no browser keeps a cookie longer; each login begins anew
MOST_USERS = 5  # of one device: the office's computer


def allowances(email: str, user: User | None) -> tuple[Allowance, ...]:
    """What a try to log in by this name is counted against."""
    device, known = _read_cookie()
    if user is not None and user.id in known:
        return (Allowance(f"device:{fingerprint(device)}", free=10, memory=timedelta(days=1)),)
    return (
        accounts.strangers(email),
        Allowance(
            f"address:{client_network()}", free=30, memory=timedelta(hours=1), is_shared=True
        ),
    )


def remember(response: Response, user: User) -> None:
    """From now on this device is known to this user."""
    device, known = _read_cookie()
    users = [user.id, *(one for one in known if one != user.id)][:MOST_USERS]
    response.set_cookie(
        _cookie_name(),
        _serializer().dumps([device or new_token(), *(str(one) for one in users)]),
        max_age=LASTS,
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
        path="/",
    )


def client_network() -> str:
    """Whose address it is: for IPv6 the /64, because every customer has that many addresses."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def _read_cookie() -> tuple[str, list[uuid.UUID]]:
    """The device's own secret and whom it knows; empty, where it is a stranger."""
    try:
        found = _serializer().loads(
            request.cookies.get(_cookie_name(), ""), max_age=int(LASTS.total_seconds())
        )
        return str(found[0]), [uuid.UUID(one) for one in found[1:]]
    except BadData:
        return "", []


def _cookie_name() -> str:
    return (
        "__Host-viewer-device" if current_app.config["SESSION_COOKIE_SECURE"] else "viewer-device"
    )


def _serializer() -> URLSafeTimedSerializer:
    keys = [*settings().secret_key_fallbacks, current_app.config["SECRET_KEY"]]  # newest last
    return URLSafeTimedSerializer(keys, salt="known device")
