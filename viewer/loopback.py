"""Recognize loopback hosts."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host is localhost or a loopback address. Does no DNS lookup."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
