"""Device cookies: rate limit logins separately for known and unknown devices.

Brute force must be stopped without letting an attacker lock anybody out: so each device that has
logged in before has an allowance of its own, which nobody else can use up. A signed cookie
identifies it, grants no access, and outlives the logout (OWASP, "Slow Down Online Guessing Attacks
with Device Cookies").
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
from viewer.web import proxies

LASTS = timedelta(days=400)  # the maximum that browsers keep a cookie; each login renews it
MOST_USERS = 5  # per device: the office's computer is shared


def allowances(email: str, user: User | None) -> tuple[Allowance, ...]:
    """Return the rate limits that a login attempt with this email counts against."""
    device, known = _read_cookie()
    if user is not None and user.id in known:
        return (Allowance(f"device:{fingerprint(device)}", free=10, memory=timedelta(days=1)),)
    return (
        accounts.strangers(email),
        *address_allowance("address", free=30, memory=timedelta(hours=1), is_shared=True),
    )


def is_known_to(user: User) -> bool:
    """Whether this user logged in on this device before."""
    return user.id in _read_cookie()[1]


def factor_allowance(user: User) -> Allowance:
    """The rate limit of codes, by whoever has the password already."""
    device, known = _read_cookie()
    where = f"-device:{fingerprint(device)}" if user.id in known else f":{user.id}"
    return Allowance(f"factor{where}", free=10, memory=timedelta(days=1))


def passkey_allowance() -> Allowance:
    """The rate limit of passkeys that do not fit, and of challenges asked for in vain."""
    return Allowance(
        f"passkey:{client_network()}", free=60, memory=timedelta(hours=1), is_shared=True
    )


def remember(response: Response, user: User) -> None:
    """Set the device cookie: mark this device as known for this user."""
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


def address_allowance(
    kind: str, free: int, memory: timedelta, *, is_shared: bool = False
) -> tuple[Allowance, ...]:
    """The rate limit of the client's address; none where that is unknown.

    All clients of a proxy that PROXY_HOPS forgot would share it, and one could lock out all.
    """
    if proxies.client_address() is None:
        return ()
    return (Allowance(f"{kind}:{client_network()}", free, memory, is_shared),)


def client_network() -> str:
    """Return the client's IP address; for IPv6 its /64, because each customer has a whole /64."""
    try:
        address = ipaddress.ip_address(proxies.client_address() or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def device_words(agent: str | None) -> str:
    """Describe a User-Agent: “Chrome on Android”."""
    said = agent or ""
    browser = next((name for sign, name in BROWSERS if sign in said), "A browser")
    system = next((name for sign, name in SYSTEMS if sign in said), None)
    return f"{browser} on {system}" if system else browser


# Order matters: each User-Agent also contains names further down.
BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome", "Chrome"),
    ("Safari", "Safari"), ("curl/", "curl"),
)  # fmt: skip
SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
    ("CrOS", "ChromeOS"), ("Macintosh", "Mac"), ("Linux", "Linux"),
)  # fmt: skip


def _read_cookie() -> tuple[str, list[uuid.UUID]]:
    """Return the device's secret and the ids of its users; both empty for an unknown device."""
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
