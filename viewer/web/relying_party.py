"""For which host passkeys are made (WebAuthn's relying party): PUBLIC_URL's, never the request's.

A passkey belongs to one host for good, and a forged Host header must not choose it. On this machine
itself, without PUBLIC_URL, it is `localhost`: browsers take no IP address.
"""

import ipaddress
from urllib.parse import urlsplit

from flask import request

from viewer.config import settings
from viewer.office.passkeys import RelyingParty


def find_relying_party() -> RelyingParty | None:
    """None: passkeys cannot be used at this address."""
    base = settings().PUBLIC_URL or request.host_url
    parts = urlsplit(base)
    host = parts.hostname or ""
    if host != "localhost" and (parts.scheme != "https" or not settings().PUBLIC_URL):
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return RelyingParty(host, f"{parts.scheme}://{parts.netloc}")
    return None
