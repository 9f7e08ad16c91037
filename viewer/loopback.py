"""Recognize loopback and private hosts, by their names alone: no DNS lookup."""

import ipaddress

# Endings under which nothing is public (RFC 6761, RFC 6762 appendix G, RFC 8375).
_LOCAL_ENDINGS = (
    ".localhost", ".local", ".internal", ".intranet", ".private", ".corp", ".home", ".lan",
    ".home.arpa",
)  # fmt: skip

# Where a reverse proxy of ours may be; 100.64.0.0/10 is Tailscale's.
_OUR_NETWORKS = tuple(
    ipaddress.ip_network(one)
    for one in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether a host is localhost or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_neighbour(peer: str) -> bool:
    """Whether the peer of a connection is on this machine, its network, or a Unix socket."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return True  # a Unix socket has none
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _OUR_NETWORKS)


def is_private(host: str) -> bool:
    """Whether nobody on the internet reaches a host: loopback, a private network, a local name."""
    name = host.lower().rstrip(".")
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return "." not in name or name.endswith(_LOCAL_ENDINGS)
