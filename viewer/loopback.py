"""Recognize loopback and private hosts, by their names alone: no DNS lookup."""

import ipaddress

# Endings under which nothing is public (RFC 6761, RFC 6762 appendix G, RFC 8375).
_LOCAL_ENDINGS = (
    ".localhost", ".local", ".internal", ".intranet", ".private", ".corp", ".home", ".lan",
    ".home.arpa",
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether a host is localhost or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Whether nobody on the internet reaches a host: loopback, a private network, a local name."""
    name = host.lower().rstrip(".")
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return "." not in name or name.endswith(_LOCAL_ENDINGS)
