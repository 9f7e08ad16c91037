"""Download a file from a URL that a stranger chose, guarded against SSRF.

The only code that sends such requests. URL, every DNS answer and every redirect are checked before
a packet leaves; time, bytes and memory are bounded; no cookie, proxy or credential is sent along.

FetchError
  Unreachable       try again later
  Gone              the address is dead: ask the provider for a fresh one
  Refused           our rules say no: a person decides, we do not try again by ourselves
    HostNotAllowed  nobody has allowed this host yet
    TooLarge        the file is larger than we accept

Their `reason` is a sentence for office staff. It names the host, never the address, which may be
signed; and what caused them is not shown with them, because that has the address in its text.
"""

import base64
import binascii
import email.utils
import hashlib
import ipaddress
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import IncompleteRead
from itertools import zip_longest
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

# urllib3 writes whole addresses into its warnings and debug lines; ours are as good as passwords.
logging.getLogger("urllib3").setLevel(logging.ERROR)

CHUNK = 64 * 1024
PROGRESS_EVERY = 5.0  # seconds
LONGEST_RETRY_AFTER = 3600.0  # seconds; a server may not put us off for longer
MOST_ANSWERS = 64  # of the name service; the large stores give up to sixteen
IDLE_CONNECTIONS, IDLE_SECONDS = 8, 15.0  # kept for the next download; servers keep longer
ADDRESSES_TRIED = 3  # of one host, where the first do not take the connection
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Policy:
    """The allow-list. `hosts` are exact names; a leading dot means all subdomains."""

    hosts: tuple[str, ...]
    allow_loopback: bool = False  # tests and demo: plain http, any port, on this machine only


@dataclass(frozen=True, slots=True)
class Limits:
    connect: float = 5.0  # seconds, for TCP and again for TLS
    read: float = 20.0  # seconds without a byte
    total: float = 300.0  # seconds, redirects included; then only what goes on at this speed:
    slowest: int = 32_000  # bytes a second. A slow line is no reason to start again
    longest: float = 1800.0  # seconds, however it goes on
    max_bytes: int = 100_000_000
    redirects: int = 3


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What arrived. Names and types are the sender's claims: decide by content."""

    size: int
    sha256: str
    content_type: str | None  # "image/jpeg", without parameters
    file_name: str | None  # from Content-Disposition, as sent: clean it before use
    length_verified: bool  # the end was announced and reached, or a checksum agreed


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed the checks, in the form in which it will be requested."""

    url: str
    scheme: str
    host: str
    port: int
    is_loopback: bool  # permitted by the policy, and then nowhere but on this machine


@dataclass(frozen=True, slots=True)
class Partial:
    """The beginning of a file that broke off, and what identifies the rest of it."""

    size: int  # bytes that are here
    sha256: str  # of these
    total: int  # bytes of the whole
    etag: str  # a strong one: the same for the same bytes only


class FetchError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreachable(FetchError):
    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after  # seconds, an hour at most; None: the server named no pause
        self.partial: Partial | None = None  # what the next attempt may continue


class Gone(FetchError):
    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class Refused(FetchError):
    pass


class HostNotAllowed(Refused):
    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not on the list of hosts we download from.")
        self.host = host


class TooLarge(Refused):
    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The file is larger than the {max_bytes / 1e6:g} MB we accept.")


class Sink(Protocol):
    """Where the bytes are written; a file is one, if nothing is resumed."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Returns the number of bytes written."""
        ...

    def read_back(self) -> Iterator[bytes]:
        """What is in it. Afterwards it is at its end."""
        ...

    def clear(self) -> None:
        """Start anew."""


class _NotResumed(Exception):
    """The server does not continue the file that we have the beginning of."""


Resolver = Callable[[str], Sequence[str]]


def system_resolver(host: str) -> list[str]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in answers]


def fetch(
    url: str,
    part: Sink,
    policy: Policy,
    limits: Limits = DEFAULT_LIMITS,
    *,
    resume: Partial | None = None,
    resolve: Resolver = system_resolver,
    on_progress: Callable[[], None] | None = None,
    ca_bundle: str | None = None,
) -> Fetched:
    """Stream the file into `part`, as sent, and say what arrived. Raises FetchError.

    After an error `part` holds anything: throw it away, unless an Unreachable names a `partial`.
    Given that as `resume`, with a part that holds it, the next call asks for the rest only. What
    does not fit is downloaded from the start. What writing to `part` raises passes through
    untouched, and so does what `on_progress` raises; it is called before each request and every few
    seconds of transfer, but not while we wait for a silent server.
    """
    with _Deadline(limits.total, limits.longest) as deadline:

        def attempt(resume: Partial | None) -> Fetched:
            address = url
            for _ in range(limits.redirects + 1):
                if on_progress:
                    on_progress()
                target = check_address(address, policy)
                with _keeping(resume):
                    addresses = _checked_addresses(target, resolve, deadline.left(limits.read))
                    asked = _ask(target, addresses, limits, deadline, ca_bundle, resume)
                with closing(asked) as answer:
                    if location := _redirect(answer, target):
                        address = location
                        continue  # its body stays unread
                    with _keeping(resume):
                        is_rest = _continues(answer, resume)
                    if resume and not is_rest:
                        part.clear()
                    beginning = resume if is_rest else None
                    return _receive(answer, part, target, limits, deadline, on_progress, beginning)
            raise Unreachable(f"{target.host} only sends us on from one address to the next.")

        try:
            return attempt(resume)
        except _NotResumed:
            part.clear()
            return attempt(None)


# --- whom we ask ---


def check_address(url: str, policy: Policy) -> Target:
    """Check a URL against the allow-list. Raises Refused. Sends nothing."""
    # Parsers disagree on what these mean (`https://a\@b/`), and no honest address holds one.
    if re.search(r"[\x00-\x1f\x7f\\]", url):
        raise Refused("The address contains characters that do not belong in one.")
    try:
        prepared = requests.Request("GET", url).prepare().url or ""
        parts = urlsplit(prepared)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # requests' own errors about addresses are ValueErrors too
        raise Refused("The address is not one we can read.") from None

    loopback = policy.allow_loopback and host in LOOPBACK_HOSTS
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise Refused("The address does not begin with https://.")
    if "@" in parts.netloc:
        raise Refused("The address carries a user name or password.")
    if not loopback:
        _check_host(host, policy.hosts)
        if port not in (None, 443):
            raise Refused(f"The address asks for port {port}; we only use 443.")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return Target(prepared, parts.scheme, host, port, loopback)


def _check_host(host: str, allowed: tuple[str, ...]) -> None:
    labels = host.split(".")
    if not all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in labels) or len(host) > 253:
        raise Refused("The address does not name a host properly.")
    # 127.1, 0x7f000001 and the like: a name never ends in a number.
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        raise Refused("The address holds a number where the name of a host belongs.")
    if not any(_is_named_by(entry.lower(), host) for entry in allowed):
        raise HostNotAllowed(host)


def _is_named_by(entry: str, host: str) -> bool:
    return host.endswith(entry) if entry.startswith(".") else host == entry


def _checked_addresses(target: Target, resolve: Resolver, seconds: float) -> list[str]:
    """Resolve the host once: DNS rebinding gains nothing. One non-public answer refuses all."""
    # In a thread, because the system's resolver takes no timeout.
    lookup = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resolve")
    try:
        answers = list(dict.fromkeys(lookup.submit(resolve, target.host).result(seconds)))
    except OSError:  # no such name, the name service failed, or (TimeoutError) it did not answer
        answers = []
    finally:
        lookup.shutdown(wait=False)

    if not answers:
        raise Unreachable(f"The name {target.host} cannot be found on the internet at the moment.")
    if len(answers) > MOST_ANSWERS:
        raise Refused(f"{target.host} claims to live at {len(answers)} places at once.")
    is_fine = _is_loopback_address if target.is_loopback else _is_public
    if not all(is_fine(answer) for answer in answers):
        raise Refused(f"{target.host} leads into a private network, not to the internet.")
    return _alternating(answers)


def _is_loopback_address(address: str) -> bool:
    """Not `viewer.loopback`, which also takes a name: SSRF is refused by what the name led to."""
    ip = _parsed(address)
    return ip is not None and ip.is_loopback


def _is_public(address: str) -> bool:
    """Whether this is a public address, also behind an IPv6 form that embeds an IPv4 one."""
    ip = _parsed(address)
    # is_global alone lets multicast through, and IPv6 addresses that stand for private IPv4 ones.
    if ip is None or not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_V4)
    return (
        ip in _UNICAST_V6
        and not any(ip in network for network in _TUNNELS_V6)
        and (int(ip) >> 32) & 0xFFFFFFFF not in _ISATAP_MARKS
    )


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


_SPECIAL_V4 = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's platform service, on a public number
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments, and metadata of one cloud
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays into 6to4
)
# The only block the internet uses: not mapped, compatible, NAT64, site-local or unique local.
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_TUNNELS_V6 = (
    ipaddress.IPv6Network("2001::/32"),  # Teredo
    ipaddress.IPv6Network("2002::/16"),  # 6to4
)
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)  # in bits 32 to 63, before the IPv4 address


def _alternating(addresses: list[str]) -> list[str]:
    """Alternate IPv4 and IPv6, so that a network where one is dead costs one attempt."""
    fours = [address for address in addresses if ":" not in address]
    sixes = [address for address in addresses if ":" in address]
    return [a for pair in zip_longest(fours, sixes) for a in pair if a is not None]


# --- asking ---


class _Deadline:
    """The deadline of the whole transfer, on the monotonic clock.

    Socket timeouts restart with each byte, so a thread shuts the socket down at the deadline,
    whoever reads from it. The reader then sees an ordinary end of file and must check `passed`.
    Who sees that the transfer goes on well may put it off.
    """

    def __init__(self, seconds: float, longest: float) -> None:
        self._begin = time.monotonic()
        self._end = self._begin + seconds
        self._longest = self._begin + max(seconds, longest)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_over = False
        self._timer = self._new_timer(seconds)

    def _new_timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._ring)
        timer.daemon = True
        return timer

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            self._timer.cancel()

    @property
    def seconds(self) -> float:
        return round(self._end - self._begin, 1)

    def put_off(self, seconds: float) -> None:
        """Allow at least so many seconds from now, within the longest."""
        moment = time.monotonic()
        with self._lock:
            if moment < self._end:  # what was cut off stays so
                self._end = max(self._end, min(moment + seconds, self._longest))

    def _ring(self) -> None:
        with self._lock:
            left = self._end - time.monotonic()
            if self._is_over:
                return
            if left > 0:
                self._timer = self._new_timer(left)
                self._timer.start()
                return
        self._cut()

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def left(self, at_most: float) -> float:
        """Seconds for one step. Never 0, which sockets take for "do not wait"."""
        return max(0.001, min(at_most, self._end - time.monotonic()))

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
        if self.passed:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):  # closed already
                    # Not SSLSocket's own: that forgets the encryption, and what is still in the
                    # kernel would be read as if it were plain.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _WatchedConnection(HTTPConnection):
    def __init__(self, *args: Any, watch: Callable[[socket.socket], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def connect(self) -> None:
        super().connect()  # up to the end of the TLS handshake, which its timeout bounds as a whole
        self._watch(self.sock)


class _WatchedHTTPSConnection(_WatchedConnection, HTTPSConnection):
    pass


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPSConnection


class _PinnedAdapter(HTTPAdapter):
    """Connect to the address that was checked, whatever the host name resolves to by now.

    Used without a Session, which would bring proxies, .netrc and cookies, and would read (and
    unpack) the bodies of redirects even when told not to follow them. It has one connection, which
    serves one download after another: each has its deadline.
    """

    def __init__(self, target: Target, address: str) -> None:
        super().__init__()
        self.end_of_idleness = float("inf")  # on the monotonic clock
        self._deadline: _Deadline | None = None
        self._socket: socket.socket | None = None
        self._pool: HTTPConnectionPool
        if target.scheme == "https":  # the certificate has to be the host's, not the address's
            self._pool = _WatchedHTTPSPool(
                address, target.port, server_hostname=target.host, watch=self._watch
            )
        else:
            self._pool = _WatchedPool(address, target.port, watch=self._watch)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def serve(self, deadline: _Deadline) -> None:
        """From now on for this download."""
        self._deadline = deadline
        if self._socket is not None:
            deadline.watch(self._socket)

    def _watch(self, connected: socket.socket) -> None:
        self._socket = connected
        if self._deadline is not None:
            self._deadline.watch(connected)

    def close(self) -> None:
        self._pool.close()
        super().close()


_Key = tuple[str, str, int, str, str | None]  # scheme, host, port, address, CA bundle


class _IdleConnections:
    """Connections that the next download from the same host and address may use.

    A handshake costs three round trips, and a customer's photos come one after another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adapters: list[tuple[_Key, _PinnedAdapter]] = []

    def take(self, key: _Key) -> _PinnedAdapter | None:
        with self._lock:
            self._close_old()
            for index, (known, adapter) in enumerate(self._adapters):
                if known == key:
                    del self._adapters[index]
                    return adapter
        return None

    def put(self, key: _Key, adapter: _PinnedAdapter) -> None:
        adapter.end_of_idleness = time.monotonic() + IDLE_SECONDS
        with self._lock:
            self._adapters.append((key, adapter))
            self._close_old()

    def forget(self) -> None:
        """In a forked child: they are the parent's. They are not closed, only never used."""
        self._lock = threading.Lock()
        self._adapters = []

    def _close_old(self) -> None:
        moment = time.monotonic()
        kept = [entry for entry in self._adapters if entry[1].end_of_idleness > moment]
        kept = kept[-IDLE_CONNECTIONS:]
        for _, adapter in (entry for entry in self._adapters if entry not in kept):
            adapter.close()
        self._adapters = kept


_idle = _IdleConnections()
os.register_at_fork(after_in_child=_idle.forget)


class _Answer:
    """A response whose body is still unread, with its connection."""

    def __init__(self, key: _Key, adapter: _PinnedAdapter, response: requests.Response) -> None:
        self._key, self._adapter, self._response = key, adapter, response
        self.raw: HTTPResponse = response.raw
        self.status = response.status_code
        self.is_read = False  # to its end, and nothing was wrong with it

    def all(self, name: str) -> list[str]:
        """What the header says, a value for each time it was sent."""
        return [_as_text(value) for value in self.raw.headers.getlist(name)]

    def first(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def close(self) -> None:
        self._response.close()
        if self.is_read:
            _idle.put(self._key, self._adapter)
        else:
            self._adapter.close()


def _as_text(header: str) -> str:
    """Decode a header as its sender meant it: many send UTF-8, the library reads Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _ask(
    target: Target,
    addresses: list[str],
    limits: Limits,
    deadline: _Deadline,
    ca_bundle: str | None,
    resume: Partial | None,
) -> _Answer:
    """Send the request to the first address that accepts the connection."""
    headers = _headers(target)
    if resume:
        headers |= {"Range": f"bytes={resume.size}-", "If-Range": resume.etag}
    question = requests.Request("GET", target.url, headers=headers).prepare()
    problem = Unreachable(f"{target.host} could not be reached.")
    for address in addresses[:ADDRESSES_TRIED]:
        key = (target.scheme, target.host, target.port, address, ca_bundle)
        for adapter in (_idle.take(key), _PinnedAdapter(target, address)):
            if adapter is None:
                continue
            adapter.serve(deadline)
            try:
                response = adapter.send(
                    question,
                    stream=True,
                    timeout=(deadline.left(limits.connect), deadline.left(limits.read)),
                    verify=ca_bundle or True,
                )
            except (OSError, HTTPError) as error:  # requests' errors are OSErrors
                adapter.close()
                problem = _unreachable(error, target.host, deadline)
                has_connected = not _never_connected(error)
            else:
                return _Answer(key, adapter, response)
            if deadline.passed:
                raise problem
        if has_connected:
            break
    raise problem


def _headers(target: Target) -> dict[str, str]:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = {"https": 443, "http": 80}[target.scheme]
    return {
        # Ours to say, since the connection itself only knows a number.
        "Host": host if target.port == usual else f"{host}:{target.port}",
        "User-Agent": "conversation-viewer",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
    }


def _never_connected(error: BaseException) -> bool:
    return any(
        isinstance(cause, NewConnectionError | requests.ConnectTimeout) for cause in _causes(error)
    )


def _unreachable(error: BaseException, host: str, deadline: _Deadline) -> Unreachable:
    """Word a network error for staff."""
    if deadline.passed:
        return Unreachable(f"{host} took longer than {deadline.seconds:g} seconds; we hung up.")
    for cause in reversed(list(_causes(error))):  # what happened first knows best
        match cause:
            case ssl.SSLCertVerificationError():
                what = cause.verify_message.rstrip(".")
                return Unreachable(f"{host} could not prove who it is: {what}.")
            case ssl.SSLError():
                return Unreachable(f"No secure connection to {host} could be made.")
            case IncompleteRead():
                return Unreachable(f"The file from {host} broke off before its end.")
            case ConnectionRefusedError():
                return Unreachable(f"{host} refused the connection.")
            case TimeoutError() | requests.Timeout():
                return Unreachable(f"{host} did not answer in time.")
    return Unreachable(f"The connection to {host} broke.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# --- the answer ---


def _redirect(answer: _Answer, target: Target) -> str | None:
    """The target of a redirect, to be checked like any other URL; None for other responses."""
    locations = answer.all("Location")
    if answer.status not in (301, 302, 303, 307, 308) or len(locations) != 1:
        return None
    try:
        return urljoin(target.url, locations[0])
    except ValueError:
        raise Refused(f"{target.host} sends us to an address that we cannot read.") from None


def _receive(
    answer: _Answer,
    part: Sink,
    target: Target,
    limits: Limits,
    deadline: _Deadline,
    on_progress: Callable[[], None] | None,
    beginning: Partial | None,
) -> Fetched:
    """Receive the body. `beginning` is in the part already, and this is the rest of it."""
    length = beginning.total if beginning else _announced_length(answer, target.host)
    if length is not None and length > limits.max_bytes:
        raise TooLarge(limits.max_bytes)

    size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for chunk in part.read_back() if beginning else ():
        size += len(chunk)
        sha256.update(chunk)
        md5.update(chunk)
    if beginning and (size, sha256.hexdigest()) != (beginning.size, beginning.sha256):
        raise _NotResumed  # after a power cut it may hold zeros
    progress_at, pace = time.monotonic(), _Pace(deadline, limits, size)
    try:
        for chunk in _chunks(answer, target.host, deadline):
            size += len(chunk)
            if size > limits.max_bytes:
                raise TooLarge(limits.max_bytes)
            pace.note(size)
            _write_all(part, chunk)
            sha256.update(chunk)
            md5.update(chunk)
            if on_progress and time.monotonic() - progress_at >= PROGRESS_EVERY:
                on_progress()
                progress_at = time.monotonic()
    except Unreachable as trouble:
        etag = _strong_etag(answer)
        if etag and length is not None and 0 < size < length:
            trouble.partial = Partial(size, sha256.hexdigest(), length, etag)
        raise

    answer.is_read = True
    if size == 0:
        raise Unreachable(f"{target.host} sent an empty file.")
    if beginning and size != beginning.total:
        raise Unreachable(f"The file from {target.host} has another length than it had before.")
    checksums = _announced_checksums(answer, is_whole=beginning is None)
    if checksums - {md5.digest()}:
        raise Unreachable(f"The file from {target.host} arrived damaged: its checksum differs.")
    return Fetched(
        size=size,
        sha256=sha256.hexdigest(),
        content_type=_content_type(answer),
        file_name=_file_name(answer.first("Content-Disposition") or ""),
        length_verified=length is not None or _is_chunked(answer) or bool(checksums),
    )


class _Pace:
    """Puts the deadline off while enough arrives, measured again in each tenth of the time."""

    def __init__(self, deadline: _Deadline, limits: Limits, size: int) -> None:
        self._deadline, self._slowest, self._window = deadline, limits.slowest, limits.total / 10
        self._grace = max(2 * self._window, limits.read)  # it may fall silent for so long
        self._at, self._size = time.monotonic(), size

    def note(self, size: int) -> None:
        """So many bytes have arrived."""
        moment = time.monotonic()
        if moment - self._at < self._window:
            return
        if size - self._size >= self._slowest * (moment - self._at):
            self._deadline.put_off(self._grace)
        self._at, self._size = moment, size


@contextmanager
def _keeping(resume: Partial | None) -> Iterator[None]:
    """Nothing of the part changes here: what was to be resumed still may be."""
    try:
        yield
    except Unreachable as trouble:
        trouble.partial = resume
        raise


def _continues(answer: _Answer, resume: Partial | None) -> bool:
    """Whether the answer is the rest of this file; False if it is the whole of one.

    Raises _NotResumed for a rest that does not fit, and as `_check_status`.
    """
    if resume is None or answer.status not in (206, 416):
        _check_status(answer)
        return False
    rest = f"bytes {resume.size}-{resume.total - 1}/{resume.total}"
    lengths = _listed(answer, "Content-Length")
    packed = {*_listed(answer, "Content-Encoding"), *_listed(answer, "Transfer-Encoding")}
    if (
        answer.status == 416
        or answer.all("Content-Range") != [rest]
        or set(lengths) - {str(resume.total - resume.size)}
        or packed - {"identity", "chunked"}
        or _strong_etag(answer) != resume.etag
    ):
        raise _NotResumed
    return True


def _strong_etag(answer: _Answer) -> str | None:
    match answer.all("ETag"):
        case [etag] if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
            return etag
    return None  # a weak one (W/) is the same for files that only look alike


_WHY_GONE = {
    401: "it asks for a login",
    403: "the address is no longer valid",
    404: "the file is no longer there",
    410: "the file was removed",
}


def _check_status(answer: _Answer) -> None:
    status = answer.status
    if status == 200:
        return
    if status in _WHY_GONE:
        raise Gone(f"The phone provider answered {status}: {_WHY_GONE[status]}.", status)
    if status == 429 or status >= 500:
        words = "it is too busy" if status == 429 else "it has a problem of its own"
        pause = _retry_after(answer.first("Retry-After") or "")
        raise Unreachable(f"The phone provider answered {status}: {words}.", pause)
    raise Unreachable(f"The phone provider answered {status} instead of sending the file.")


def _retry_after(value: str) -> float | None:
    """Seconds from Retry-After, which holds a number or a date."""
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:  # how the library reports "-0000"
        date = date.replace(tzinfo=UTC)
    seconds = (date - datetime.now(UTC)).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def _announced_length(answer: _Answer, host: str) -> int | None:
    """Content-Length, if there is one. Raises for two that differ."""
    # We asked for the plain bytes. Unpacking is how 200 kB become 200 MB, so nobody does it here.
    if set(_listed(answer, "Content-Encoding")) - {"identity"}:
        raise Unreachable(f"{host} sent the file packed, which we did not ask for.")
    lengths = set(_listed(answer, "Content-Length"))
    transfer = _listed(answer, "Transfer-Encoding")
    if len(lengths) > 1 or (lengths and transfer) or transfer not in ([], ["chunked"]):
        raise Unreachable(f"{host} contradicts itself about the length of the file.")
    if not lengths:
        return None
    length = lengths.pop()
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise Unreachable(f"{host} sent a length of the file that is not a number.")
    return int(length)


def _listed(answer: _Answer, name: str) -> list[str]:
    """The items of a list header, from all its lines."""
    items = [item.strip().lower() for value in answer.all(name) for item in value.split(",")]
    return [item for item in items if item]


def _is_chunked(answer: _Answer) -> bool:
    # Such a body has an end mark, and the library raises where it is missing.
    return _listed(answer, "Transfer-Encoding") == ["chunked"]


def _chunks(answer: _Answer, host: str, deadline: _Deadline) -> Iterator[bytes]:
    """The body as sent: never decompressed, never more than CHUNK in memory."""
    problem = None
    while problem is None:
        try:
            # read1 gives what has arrived; read would wait until CHUNK is full.
            chunk = answer.raw.read1(CHUNK, decode_content=False)
        except (OSError, HTTPError) as error:
            problem = _unreachable(error, host, deadline)
            break
        if deadline.passed:  # then an end of file was our own doing
            problem = _unreachable(TimeoutError(), host, deadline)
        elif not chunk:
            return
        else:
            yield chunk
    raise problem


def _write_all(part: Sink, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # an unbuffered file may take only some of it
        rest = rest[part.write(rest) :]


def _announced_checksums(answer: _Answer, *, is_whole: bool) -> set[bytes]:
    """The MD5 checksums that the server announces. Unreadable ones are ignored."""
    claims = answer.all("Content-MD5") if is_whole else []  # else it is of the rest alone
    # A store that unpacked the file on its way out still sends the sum of the packed one.
    if not set(_listed(answer, "X-Goog-Stored-Content-Encoding")) - {"identity"}:
        for item in ",".join(answer.all("X-Goog-Hash")).split(","):
            kind, _, value = item.strip().partition("=")
            if kind == "md5":
                claims.append(value)
    sums = set()
    for claim in claims:
        with suppress(binascii.Error, ValueError):
            sums.add(base64.b64decode(claim, validate=True))
    return {digest for digest in sums if len(digest) == 16}


def _content_type(answer: _Answer) -> str | None:
    kind = (answer.first("Content-Type") or "").partition(";")[0].strip().lower()
    return kind if re.fullmatch(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}", kind) else None


def _file_name(disposition: str) -> str | None:
    """The name in a Content-Disposition. Read by hand: email's parser raises on hostile ones."""
    if extended := re.search(r";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", disposition, re.I):
        return unquote(extended[1])
    if quoted := re.search(r';\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"', disposition, re.I):
        return re.sub(r"\\(.)", r"\1", quoted[1]) or None
    if token := re.search(r";\s*filename\s*=\s*([^;\s\"]+)", disposition, re.I):
        return token[1]
    return None
