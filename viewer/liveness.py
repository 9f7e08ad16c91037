"""Whether a server still answers: ask it now and then, without waiting for it.

A process that is stopped, deadlocked or out of threads accepts connections all the same: the kernel
does. Only an answer shows that it lives.
"""

import socket
import time

EVERY = 10.0  # seconds between two questions
PATIENCE = 60.0  # seconds for an answer; a busy host is slow, and is not to be killed for that


class Liveness:
    """Asks one question at a time over a connection of its own."""

    def __init__(
        self,
        family: socket.AddressFamily,
        address: str | tuple[str, int],
        question: bytes,
        *,
        every: float | None = None,
        patience: float | None = None,
    ) -> None:
        self._family, self._address, self._question = family, address, question
        self._every = EVERY if every is None else every
        self._patience = PATIENCE if patience is None else patience
        self._line: socket.socket | None = None
        self._asked_at = 0.0
        self._silent_since: float | None = None

    def is_overdue(self) -> bool:
        """Whether there has been no answer for too long. Waits for none."""
        moment = time.monotonic()
        if self._line is not None:
            self._listen(self._line)
        elif moment >= self._asked_at + self._every:
            self._ask(moment)
        return self._silent_since is not None and moment >= self._silent_since + self._patience

    def _ask(self, moment: float) -> None:
        self._asked_at = moment
        line = socket.socket(self._family, socket.SOCK_STREAM)
        line.settimeout(1.0)
        try:
            line.connect(self._address)
            line.sendall(self._question)
        except (TimeoutError, BlockingIOError):  # its queue of connections is full
            line.close()
        except OSError:  # nobody listens: it is starting, or ending, which its supervisor sees
            line.close()
            self.clear()
            return
        else:
            line.setblocking(False)
            self._line = line
        if self._silent_since is None:
            self._silent_since = moment

    def _listen(self, line: socket.socket) -> None:
        try:
            line.recv(100)  # whatever it says: it lives
        except BlockingIOError:
            return
        except OSError:
            pass  # so does one that hangs up
        self.clear()

    def clear(self) -> None:
        """Take back the question."""
        self._silent_since = None
        if self._line is not None:
            self._line.close()
            self._line = None


def of_web(host: str, port: int) -> Liveness:
    """Of a web server that listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    question = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return Liveness(family, (reached, port), question)


def of_valkey(path: str) -> Liveness:
    """Of a Valkey on this Unix socket."""
    return Liveness(socket.AF_UNIX, path, b"PING\r\n")
