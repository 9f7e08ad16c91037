"""A gunicorn worker with a clock: its threads work on what is there, and never wait for a client.

One loop reads requests and waits for clients. A thread gets a request once it is whole, and gives
the connection back as soon as the client takes no more of the response. So a slow client costs a
connection, no thread; and each connection has a deadline (`Limits`).

A lane is a pool of threads: deliveries and health checks have one that nobody else's requests fill,
and so have strangers with a share link. When there are too many connections, the oldest from which
no whole request came makes room.

gunicorn's own threaded worker reads and writes in its threads: 16 slow clients stop it.
"""

import contextlib
import errno
import os
import resource
import selectors
import socket
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import PollableMethodQueue

from viewer.serving.connection import SMALL_BODY, Connection, Headers, State
from viewer.serving.limits import Cut, Limits

RECEIVE = 64 * 1024  # bytes
TICK = 1.0  # seconds between two looks at the deadlines, at most

LARGE = "large"  # the lane of requests with a large body

_DEADLINE_OF = {
    State.HEAD: Cut.SLOW_HEAD,
    State.BODY: Cut.SLOW_BODY,
    State.ROOM: Cut.NO_ROOM,
    State.CLIENT: Cut.SLOW_READER,
}
_ANSWERS = {
    Cut.SLOW_HEAD: (408, "Request Timeout", "The request took too long."),
    Cut.SLOW_BODY: (408, "Request Timeout", "The request took too long."),
    Cut.NO_ROOM: (503, "Service Unavailable", "Too many large requests. Try again later."),
}
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.EBADF)


class ClockedWorker(Worker):  # type: ignore[misc]
    """Subclasses say which lane a path has, how large a body may be, and where cuts are counted."""

    limits = Limits()
    alive: bool
    urgent: str  # the lane whose requests must be answered, or this process is replaced

    @abstractmethod
    def lanes(self) -> dict[str, int]:
        """Threads of each lane. Requests with a large body have `LARGE`, whatever their path."""

    @abstractmethod
    def lane_of(self, path: str) -> str:
        """The lane of a request."""

    @abstractmethod
    def limit_of(self, method: str, path: str, headers: Headers) -> int:
        """How many bytes of body are read before the application is asked."""

    @abstractmethod
    def report(self, cuts: Mapping[str, int]) -> None:
        """Note why connections were cut, and how often. Runs in a thread, every few seconds."""

    @classmethod
    def check_config(cls, cfg: Config, _log: Any) -> None:
        """Refuse what this worker cannot do."""
        if cfg.is_ssl:
            raise ConfigError("this worker speaks no TLS: put a reverse proxy in front of it")

    def init_process(self) -> None:
        """Prepare the loop and the threads, then run."""
        _allow_descriptors(4 * self.limits.connections)
        self._pools = {
            name: ThreadPoolExecutor(count, thread_name_prefix=name)
            for name, count in self.lanes().items()
        }
        self._poller = selectors.DefaultSelector()
        self._done = PollableMethodQueue()
        self._done.init()
        self._connections: set[Connection] = set()
        self._for_room: deque[Connection] = deque()
        self._room = self.limits.room
        self._cuts: Counter[str] = Counter()
        self._reported = time.monotonic()
        self._ticked = 0.0
        self._tick_every = min(TICK, self.limits.head / 4)
        super().init_process()

    def handle_exit(self, _signal: int, _frame: Any) -> None:
        """SIGTERM: finish what was asked."""
        if self.alive:
            self.alive = False
            self._done.defer(lambda: None)  # wake the loop

    def run(self) -> None:
        """The loop."""
        self._poller.register(self._done.fileno(), selectors.EVENT_READ, self._run_done)
        for listener in self.sockets:
            listener.setblocking(False)
            self._poller.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        self.notify()
        while self.alive and self.ppid == os.getppid():
            self._turn(self._tick_every)
        self._stop()

    def _turn(self, timeout: float) -> None:
        for key, _ in self._poller.select(timeout):
            key.data()
        moment = time.monotonic()
        if moment >= self._ticked + self._tick_every:
            self._ticked = moment
            self._tick(moment)

    def _run_done(self) -> None:
        self._done.run_callbacks(None)

    def _stop(self) -> None:
        """Accept no more, and end the rest within gunicorn's graceful timeout."""
        for listener in self.sockets:
            self._poller.unregister(listener)
        end = time.monotonic() + self.cfg.graceful_timeout
        linger = time.monotonic() + min(self.limits.lingering, self.cfg.keepalive)
        while self._connections and (moment := time.monotonic()) < end:
            for connection in self._connections:
                if connection.state is State.IDLE:
                    connection.deadline = min(connection.deadline, linger)
            self._ticked = moment
            self._tick(moment)
            self._turn(0.1)
        for connection in list(self._connections):
            self._drop(connection)
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        if self._cuts:
            self._report(self._cuts)

    # --- Connections -------------------------------------------------------------------------

    def _accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_way()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        sock.setblocking(False)
        if len(self._connections) >= self.limits.connections:
            self._make_way()
        moment = time.monotonic()
        connection = Connection(self.cfg, sock, client, listener.getsockname(), moment)
        connection.deadline = moment + self.limits.head
        self._connections.add(connection)
        self._receive(connection)  # the request is often there already

    def _make_way(self) -> None:
        """Cut the oldest connection from which no whole request came."""
        waiting = [one for one in self._connections if one.state in (State.IDLE, State.HEAD)]
        waiting = waiting or [one for one in self._connections if one.state is not State.ANSWER]
        if waiting:
            self._cut(min(waiting, key=lambda one: one.since), Cut.CROWDED)

    def _watch(self, connection: Connection, events: int) -> None:
        on_event = self._receive if events == selectors.EVENT_READ else self._go_on
        if connection.is_watched:
            self._poller.modify(connection.sock, events, partial(on_event, connection))
        else:
            self._poller.register(connection.sock, events, partial(on_event, connection))
            connection.is_watched = True

    def _unwatch(self, connection: Connection) -> None:
        if connection.is_watched:
            self._poller.unregister(connection.sock)
            connection.is_watched = False

    def _enter(self, connection: Connection, state: State, seconds: float) -> None:
        connection.state, connection.since = state, time.monotonic()
        connection.deadline = connection.since + seconds

    # --- Requests come in --------------------------------------------------------------------

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVE)
        except BlockingIOError:
            if not connection.is_watched:
                self._watch(connection, selectors.EVENT_READ)
            return
        except OSError:
            self._drop(connection)
            return
        if not data:
            self._drop(connection)
        elif connection.state is not State.CLOSE:
            self._take(connection, data)

    def _take(self, connection: Connection, data: bytes) -> None:
        if connection.state is State.IDLE:
            self._enter(connection, State.HEAD, self.limits.head)
        is_ready = connection.receive(data, self.limit_of)
        if connection.error is not None:
            self._refuse(connection)
        elif is_ready:
            self._submit(connection)
        elif connection.state is State.HEAD and connection.request is not None:
            self._await_body(connection)
        elif not connection.is_watched:
            self._watch(connection, selectors.EVENT_READ)

    def _await_body(self, connection: Connection) -> None:
        size = connection.body_size
        if size > SMALL_BODY and size > self._room:
            self._unwatch(connection)
            self._enter(connection, State.ROOM, self.limits.body)
            self._for_room.append(connection)
            return
        if size > SMALL_BODY:
            self._room -= size
            connection.room = size
        self._enter(connection, State.BODY, self.limits.body + size / self.limits.body_rate)
        if connection.wants_continue:
            with contextlib.suppress(OSError):
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._watch(connection, selectors.EVENT_READ)

    def _leave_room(self, connection: Connection) -> None:
        self._room += connection.room
        connection.room = 0
        while self._for_room and self._for_room[0].body_size <= self._room:
            self._await_body(self._for_room.popleft())

    def _refuse(self, connection: Connection) -> None:
        """Answer a request that cannot be parsed."""
        self._unwatch(connection)
        if isinstance(connection.error, StopIteration | NoMoreData):  # it was none
            self._drop(connection)
            return
        self.handle_error(
            connection.request, connection.sock, connection.client, connection.error
        )  # its few bytes fit into the socket's buffer
        self._close(connection)

    # --- Threads answer ----------------------------------------------------------------------

    def _submit(self, connection: Connection) -> None:
        self._unwatch(connection)
        assert connection.request is not None  # noqa: S101 - for the type checker
        is_large = connection.body_size > SMALL_BODY
        connection.lane = LARGE if is_large else self.lane_of(connection.request.path)
        self._enter(connection, State.ANSWER, 0.0)
        self._pools[connection.lane].submit(self._run, self._answer, connection)

    def _go_on(self, connection: Connection) -> None:
        """The client takes more: a thread sends it."""
        self._unwatch(connection)
        self._enter(connection, State.ANSWER, 0.0)
        self._pools[connection.lane].submit(self._run, self._send, connection)

    def _run(self, work: Callable[[Connection], State], connection: Connection) -> None:
        """In a thread: work, and give the connection back to the loop."""
        state = State.CLOSE
        try:
            state = work(connection)
        except OSError as error:
            if error.errno not in _GONE and not isinstance(error, ConnectionError):
                self.log.exception("Error while a response was sent")
            connection.error = error
        except (Exception, SystemExit) as error:
            connection.error = error
            if connection.outbox.sent or (connection.response and connection.response.headers_sent):
                self.log.exception("Error handling request")
            else:
                self.handle_error(connection.request, connection.outbox, connection.client, error)
                with contextlib.suppress(OSError):
                    connection.outbox.flush(self.limits.turn)
                connection.error = None
        if state is State.CLOSE or connection.error is not None:
            self._close_body(connection)
        self._done.defer(self._after, connection, state)

    def _answer(self, connection: Connection) -> State:
        request = connection.request
        started = time.monotonic()
        response, environ = wsgi.create(
            request, connection.outbox, connection.client, connection.server, self.cfg
        )
        environ["gunicorn.socket"] = connection.sock
        environ["wsgi.multithread"] = True
        connection.response = response
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive or not self.cfg.keepalive:
            response.force_close()
        body = self.wsgi(environ, response.start_response)
        connection.close_body = partial(self._finish, connection, body, environ, started)
        if isinstance(body, wsgi.FileWrapper) and response.sendfile(body):
            connection.body = iter(())
        else:
            connection.body = iter(body)
        return self._send(connection)

    def _send(self, connection: Connection) -> State:
        """Send what the client takes. Returns what the connection waits for then."""
        outbox, response = connection.outbox, connection.response
        end = outbox.sent + self.limits.turn
        while True:
            if connection.body is not None:
                try:
                    response.write(next(connection.body))
                except StopIteration:
                    response.close()
                    connection.body = None
                else:
                    if outbox.waiting < RECEIVE:
                        continue  # small pieces go together
            if not outbox.flush(max(0, end - outbox.sent)):
                return State.CLIENT
            if outbox.sent >= end and (outbox.waiting or connection.body is not None):
                return State.ANSWER
            if connection.body is None:
                self._close_body(connection)
                return State.CLOSE if response.should_close() else State.IDLE

    def _finish(self, connection: Connection, body: Any, environ: Any, started: float) -> None:
        took = timedelta(seconds=time.monotonic() - started)
        self.log.access(connection.response, connection.request, environ, took)
        if hasattr(body, "close"):
            body.close()

    def _close_body(self, connection: Connection) -> None:
        """Let the application close what it answered with. Twice is once."""
        try:
            connection.finish_body()
        except Exception:
            self.log.exception("Error closing a response")

    # --- Back in the loop --------------------------------------------------------------------

    def _after(self, connection: Connection, state: State) -> None:
        """A thread gave this connection back."""
        if connection.room:
            self._leave_room(connection)
        if connection.error is not None:
            self._drop(connection)
        elif state is State.CLOSE:
            self._close(connection)
        elif state is State.ANSWER:
            self._go_on(connection)
        elif state is State.CLIENT:
            self._await_client(connection)
        else:
            rest = connection.next_request()
            self._enter(connection, State.IDLE, self.cfg.keepalive)
            if rest:
                self._take(connection, rest)
            else:
                self._receive(connection)

    def _await_client(self, connection: Connection) -> None:
        self._enter(connection, State.CLIENT, self.limits.stalled)
        connection.reading_since = connection.reading_since or connection.since
        earned = self.limits.reader_grace + connection.outbox.sent / self.limits.reader_rate
        connection.deadline = min(connection.deadline, connection.reading_since + earned)
        self._watch(connection, selectors.EVENT_WRITE)

    def _close(self, connection: Connection) -> None:
        """Close our end, and read what still comes: else a reset could destroy the response."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)
            return
        self._enter(connection, State.CLOSE, self.limits.closing)
        self._watch(connection, selectors.EVENT_READ)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._unwatch(connection)
        if connection.state is State.ROOM:
            self._for_room.remove(connection)
        util.close(connection.sock)
        if connection.room:
            self._leave_room(connection)
        if connection.state is State.CLIENT:  # what it closes may be slow
            self._pools[connection.lane].submit(self._close_body, connection)

    # --- The clock ---------------------------------------------------------------------------

    def _tick(self, moment: float) -> None:
        answering = Counter[str]()
        for connection in list(self._connections):
            if connection.state is State.ANSWER:
                answering[connection.lane] += moment > connection.since + self.limits.stuck
            elif moment >= connection.deadline:
                self._expire(connection)
        if answering[self.urgent] < self.lanes()[self.urgent]:
            self.notify()
        else:
            self.log.error("every thread of the lane %r hangs: no sign of life", self.urgent)
        if self._cuts and moment >= self._reported + self.limits.reported:
            self._reported = moment
            cuts, self._cuts = self._cuts, Counter()
            self._pools[self.urgent].submit(self._report, cuts)

    def _expire(self, connection: Connection) -> None:
        if (reason := _DEADLINE_OF.get(connection.state)) is None:
            self._drop(connection)
        else:
            self._cut(connection, reason)

    def _cut(self, connection: Connection, reason: str) -> None:
        self._cuts[reason] += 1
        if answer := _ANSWERS.get(reason):
            with contextlib.suppress(OSError):  # it fits into the socket's buffer
                util.write_error(connection.sock, *answer)
        self._drop(connection)

    def _report(self, cuts: Mapping[str, int]) -> None:
        try:
            self.report(cuts)
        except Exception:
            self.log.exception("cut connections are not counted")


def _allow_descriptors(wanted: int) -> None:
    """Raise the soft limit, which is often 1,024: each connection may have a file open, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
