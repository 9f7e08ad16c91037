"""What the door to strangers' servers promises. Row numbers are of our catalogue of faults."""

import base64
import gzip
import hashlib
import io
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import time_machine

from tests.support.hostile_server import (
    HostileServer,
    Wire,
    answer,
    chunked,
    dripping,
    endless,
    in_turn,
    raw,
    redirect,
    resetting,
    silent,
    stalling,
)
from viewer.intake import fetch as fetching
from viewer.intake.fetch import (
    Fetched,
    FetchError,
    Gone,
    HostNotAllowed,
    Limits,
    Policy,
    Refused,
    TooLarge,
    Unreachable,
    check_address,
    fetch,
)

PHOTO = bytes(range(256)) * 400
STORE = "storage.example-media.com"
OFFICE = Policy(hosts=(STORE, "m.example.net", ".cdn.example.org"))
HERE = Policy(hosts=(STORE,), allow_loopback=True)
PATIENT = Limits(max_bytes=1_000_000)  # a busy machine fails no test
HURRIED = Limits(total=1)
LISTENING = Limits(read=0.3)
PUBLIC_V4, PUBLIC_V6 = "8.8.4.4", "2606:4700:4700::1111"


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where sockets were told to connect. What would leave this machine is noted and stopped."""
    seen: list[tuple[str, int]] = []
    really_connect = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append(address[:2])
        if address[0] not in ("127.0.0.1", "::1"):
            raise ConnectionRefusedError
        really_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def names(*addresses: str) -> Callable[[str], list[str]]:
    """A name service that always gives these answers."""
    return lambda host: list(addresses)


LOCALLY = names("127.0.0.1")


def get(
    url: str,
    policy: Policy = HERE,
    limits: Limits = PATIENT,
    resolve: Callable[[str], list[str]] = LOCALLY,
    **options: object,
) -> tuple[bytes, Fetched]:
    part = io.BytesIO()
    fetched = fetch(url, part, policy, limits, resolve=resolve, **options)  # type: ignore[arg-type]
    return part.getvalue(), fetched


# --- what arrives ---


def test_the_bytes_arrive_as_they_were_sent_and_are_described(server):
    url = server.serve(
        answer(
            PHOTO,
            headers=(
                ("Content-Type", "Image/JPEG; charset=binary"),
                ("Content-Disposition", 'attachment; filename="crack in wall.jpg"'),
            ),
        )
    )

    body, fetched = get(url)

    assert body == PHOTO
    assert fetched == Fetched(
        size=len(PHOTO),
        sha256=hashlib.sha256(PHOTO).hexdigest(),
        content_type="image/jpeg",
        file_name="crack in wall.jpg",
        length_verified=True,
    )


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=crack.jpg", "crack.jpg"),
        ('attachment; filename="a \\"b\\".jpg"', 'a "b".jpg'),
        ("attachment; filename=x.jpg; filename*=UTF-8''caf%C3%A9.jpg", "café.jpg"),
        ("attachment", None),
        ('attachment; filename=""', None),
        ("attachment; filename*0*=a; filename*=b; filename*" + "9" * 5000 + "=c", None),
    ],
)
def test_the_senders_file_name_is_read_and_a_hostile_one_does_no_harm(server, disposition, name):
    url = server.serve(answer(PHOTO, headers=(("Content-Disposition", disposition),)))

    _, fetched = get(url)

    assert fetched.file_name == name


@pytest.mark.parametrize("kind", ["", "photo", "a/b/c", "image/" + "x" * 5000, "image/<svg>"])
def test_a_content_type_that_is_none_counts_as_missing(server, kind):
    url = server.serve(answer(PHOTO, headers=(("Content-Type", kind),)))

    _, fetched = get(url)

    assert fetched.content_type is None


def test_the_question_says_nothing_about_us(server):
    get(server.serve(answer(PHOTO)))

    assert server.requests[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "conversation-viewer",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_a_signed_address_is_asked_for_with_its_query(server):
    url = server.serve(answer(PHOTO), path="/a%20b") + "?Expires=1&Signature=a%2Fb%3D%3D"

    get(url)

    assert server.requests[0].path == "/a%20b?Expires=1&Signature=a%2Fb%3D%3D"


def test_progress_is_told_and_may_stop_the_transfer(server):
    class LeaseLostError(Exception):
        pass

    def renew() -> None:
        raise LeaseLostError

    with pytest.raises(LeaseLostError):
        get(server.serve(answer(PHOTO)), on_progress=renew)

    assert server.requests == []


def test_progress_is_told_throughout_the_transfer(server, monkeypatch):
    monkeypatch.setattr("viewer.intake.fetch.PROGRESS_EVERY", 0.0)
    told: list[int] = []

    get(server.serve(chunked(*[b"x" * 100] * 9)), on_progress=lambda: told.append(1))

    assert len(told) == 10  # before the request, then with each chunk


def test_a_full_disk_is_not_mistaken_for_a_network_error(server):
    class FullDisk(io.BytesIO):
        def write(self, data: object) -> int:
            raise full

    full = OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        fetch(server.serve(answer(PHOTO)), FullDisk(), HERE, PATIENT, resolve=LOCALLY)

    assert caught.value is full


def test_a_file_that_takes_only_some_bytes_at_a_time_still_gets_them_all(server):
    class Sluggish(io.BytesIO):
        def write(self, data: memoryview) -> int:  # type: ignore[override]
            return super().write(data[:1000])

    part = Sluggish()

    fetch(server.serve(answer(PHOTO)), part, HERE, PATIENT, resolve=LOCALLY)

    assert part.getvalue() == PHOTO


# --- 29: no connection, no name ---


def test_row_29_a_refused_connection_is_tried_again_later(server):
    url = server.serve(answer(PHOTO))
    server.close()

    with pytest.raises(Unreachable, match="refused the connection"):
        get(url)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(resetting, id="reset"),
        pytest.param(raw(b""), id="hangs up"),
        pytest.param(raw(b"SSH-2.0-OpenSSH\r\n\r\n"), id="another protocol"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), id="200 headers"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n"), id="long header"),
    ],
)
def test_row_29_a_broken_answer_is_tried_again_later(server, behaviour):
    with pytest.raises(Unreachable, match=r"connection to 127\.0\.0\.1 broke"):
        get(server.serve(behaviour))


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
def test_row_29_a_name_that_cannot_be_looked_up_is_tried_again_later(code, connections):
    def fail(host: str) -> list[str]:
        raise socket.gaierror(code, "as told")

    with pytest.raises(Unreachable, match="cannot be found"):
        get(f"https://{STORE}/photo", OFFICE, resolve=fail)

    assert connections == []


def test_row_29_a_name_service_that_never_answers_does_not_hold_us_up(connections):
    released = threading.Event()

    def hang(host: str) -> list[str]:
        released.wait(30)
        return [PUBLIC_V4]

    try:
        with pytest.raises(Unreachable, match="cannot be found"):
            get(f"https://{STORE}/photo", OFFICE, LISTENING, resolve=hang)
    finally:
        released.set()

    assert connections == []


def test_row_29_another_address_of_the_host_is_tried_where_the_first_is_dead(server):
    url = server.serve(answer(PHOTO)).replace("127.0.0.1", "localhost")

    body, _ = get(url, resolve=names("::1", "127.0.0.2", "127.0.0.1"))

    assert body == PHOTO


# --- 30: TLS ---


class Authority:
    """A certificate authority that lives for one test run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = str(folder / "ca.pem")
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=here\n[here]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
            "default_md=sha256\npolicy=any\ncopy_extensions=copy\nunique_subject=no\n"
            "x509_extensions=leaf\n[any]\ncommonName=supplied\n"
            "[leaf]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        # As strict as RFC 5280, which Python asks for since 3.13.
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        subject = ("-subj", "/CN=test authority")
        self._openssl(*self._new_key("ca"), "-x509", *subject, *usage, "-out", "ca.pem")

    def server(self, name: str, *, expired: bool = False, trusted: bool = True) -> ssl.SSLContext:
        file = f"{name}-{expired}-{trusted}"
        request = (
            *self._new_key(file),
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName=DNS:{name}",
        )
        if trusted:
            self._openssl(*request, "-out", f"{file}.csr")
            first, last = ("200101", "200102") if expired else ("200101", "491231")
            times = ("-startdate", f"{first}000000Z", "-enddate", f"{last}000000Z")
            sign = ("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem")
            files = ("-keyfile", "ca.key", "-in", f"{file}.csr", "-out", f"{file}.pem")
            self._openssl(*sign, *times, *files)
        else:
            self._openssl(*request, "-x509", "-out", f"{file}.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        return context

    def _new_key(self, file: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        return ("req", *curve, "-nodes", "-keyout", f"{file}.key")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    return Authority(tmp_path_factory.mktemp("authority"))


def test_row_30_tls_is_verified_for_the_name_while_connecting_to_the_checked_address(authority):
    with HostileServer(tls=authority.server("localhost")) as server:
        url = server.serve(answer(PHOTO)).replace("127.0.0.1", "localhost")

        body, fetched = get(url, ca_bundle=authority.bundle)

    assert body == PHOTO
    assert fetched.length_verified
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ({"name": "localhost", "expired": True}, "certificate has expired"),
        ({"name": "another.example.com"}, "Hostname mismatch"),
        ({"name": "localhost", "trusted": False}, "self-signed certificate"),
    ],
)
def test_row_30_a_bad_certificate_gets_no_request_and_no_downgrade(authority, certificate, why):
    with HostileServer(tls=authority.server(**certificate)) as server:
        url = server.serve(answer(PHOTO)).replace("127.0.0.1", "localhost")

        with pytest.raises(Unreachable, match=f"could not prove who it is: .*{why}"):
            get(url, ca_bundle=authority.bundle)

    assert server.requests == []
    assert server.connections == 1


def test_row_30_a_server_that_speaks_no_tls_is_not_asked_in_plain(server):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak_plainly() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=speak_plainly)
        thread.start()
        with pytest.raises(Unreachable, match="No secure connection"):
            get(f"https://127.0.0.1:{listener.getsockname()[1]}/photo")
        thread.join()


# --- 31 to 35: answers other than the file ---


@pytest.mark.parametrize("status", [500, 502, 503, 429])
@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("120", 120),
        ("0", 0),
        ("1000000000", 3600),
        ("9" * 5000, 3600),
        ("-5", None),
        ("soon", None),
        ("Fri, 99 Foo 99999 99:99:99 GMT", None),
        (None, None),
    ],
)
def test_row_31_a_busy_server_is_left_alone_for_as_long_as_it_asks(server, status, header, pause):
    headers = (("Retry-After", header),) if header else ()
    url = server.serve(answer(b"busy", status, headers=headers))

    with pytest.raises(Unreachable, match=f"answered {status}") as caught:
        get(url)

    assert caught.value.retry_after == pause


@pytest.mark.parametrize(("away", "pause"), [(90, 90), (-90, None), (10**8, 3600)])
def test_row_31_the_pause_may_be_given_as_a_date(server, away, pause):
    now = datetime(2025, 6, 1, 12, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=away), usegmt=True)
    url = server.serve(answer(b"busy", 503, headers=(("Retry-After", date),)))

    with time_machine.travel(now, tick=False), pytest.raises(Unreachable) as caught:
        get(url, limits=Limits())

    assert caught.value.retry_after == pause


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_row_32_a_dead_address_is_told_apart_from_trouble_that_passes(server, status):
    with pytest.raises(Gone, match=f"answered {status}: ") as caught:
        get(server.serve(answer(b"no", status)))

    assert caught.value.status == status


@pytest.mark.parametrize("behaviour", [answer(b""), answer(b"", length=None), chunked()])
def test_row_33_an_empty_file_is_none(server, behaviour):
    with pytest.raises(Unreachable, match="empty"):
        get(server.serve(behaviour))


@pytest.mark.parametrize("status", [101, 103, 201, 204, 206, 300, 302, 304, 307, 400, 416, 999])
def test_row_35_no_answer_but_200_is_a_file(server, status):
    with pytest.raises(Unreachable, match=f"answered {status}"):
        get(server.serve(answer(PHOTO, status)))


def test_row_35_an_informational_answer_before_the_real_one_is_skipped(server):
    url = server.serve(lambda wire: [raw(b"HTTP/1.1 100 Go on\r\n\r\n")(wire), answer(PHOTO)(wire)])

    body, _ = get(url)

    assert body == PHOTO


# --- 36 to 39: where the file ends ---


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(
            answer(PHOTO, length=len(PHOTO) + 1), id="row 36: body shorter than announced"
        ),
        pytest.param(chunked(PHOTO, ending=b""), id="row 39: chunks without their end"),
        pytest.param(chunked(PHOTO, ending=b"ffff\r\nabc"), id="row 39: cut inside a chunk"),
        pytest.param(chunked(PHOTO, ending=b"zz\r\n"), id="row 39: chunk size no number"),
    ],
)
def test_a_file_that_breaks_off_is_tried_again_later(server, behaviour):
    with pytest.raises(Unreachable, match="broke off before its end"):
        get(server.serve(behaviour))


def test_row_37_a_length_that_is_too_small_is_caught_where_there_is_a_checksum(server):
    md5 = base64.b64encode(hashlib.md5(PHOTO).digest()).decode()  # noqa: S324
    url = server.serve(answer(PHOTO, length=len(PHOTO) - 1, headers=(("Content-MD5", md5),)))

    with pytest.raises(Unreachable, match="checksum"):
        get(url)


def test_row_38_a_file_without_length_is_marked_as_unverified(server):
    body, fetched = get(server.serve(answer(PHOTO, length=None)))

    assert body == PHOTO
    assert not fetched.length_verified


def test_chunks_with_their_end_mark_count_as_verified(server):
    body, fetched = get(server.serve(chunked(PHOTO[:1000], PHOTO[1000:])))

    assert body == PHOTO
    assert fetched.length_verified


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param("Content-Length: 5\r\nContent-Length: 6", id="two lengths"),
        pytest.param("Content-Length: 5, 6", id="two lengths in one line"),
        pytest.param("Content-Length: 5\r\nTransfer-Encoding: chunked", id="length and chunks"),
        pytest.param("Transfer-Encoding: gzip, chunked", id="packed chunks"),
        pytest.param("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", id="chunks twice"),
        pytest.param("Content-Length: -5", id="negative"),
        pytest.param("Content-Length: 5_0", id="underscore"),
        pytest.param("Content-Length: " + "9" * 5000, id="5000 digits"),
    ],
)
def test_row_39_an_answer_that_contradicts_itself_is_not_believed(server, headers):
    url = server.serve(raw(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode()))

    with pytest.raises(Unreachable):
        get(url)


# --- 41 to 43: time, bytes, memory ---


@pytest.mark.proof
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(dripping(PHOTO, every=0.1), id="a byte at a time"),
        pytest.param(lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\n" * 99, 0.1), id="slow headers"),
        pytest.param(
            lambda wire: [raw(b"HTTP/1.1 200 OK\r\n\r\n")(wire), wire.drip(PHOTO, 0.1)],
            id="a byte at a time, without length",
        ),
        pytest.param(
            lambda wire: wire.drip(b"HTTP/1.1 100 Go on\r\n\r\n" * 99, 0.1, 22), id="100 for ever"
        ),
        pytest.param(redirect("/loop"), id="redirects"),
    ],
)
def test_row_41_a_slow_server_is_cut_off_at_the_end_of_the_whole_time(server, behaviour):
    server.serve(dripping(PHOTO, every=0.1), path="/loop")

    with pytest.raises(Unreachable, match="took longer than 1 seconds"):
        get(server.serve(behaviour), limits=HURRIED)


@pytest.mark.parametrize(
    "behaviour", [silent, stalling(PHOTO, after=len(PHOTO) // 2)], ids=["mute", "stalls half-way"]
)
def test_row_41_a_server_that_falls_silent_is_left(server, behaviour):
    with pytest.raises(Unreachable, match="did not answer in time"):
        get(server.serve(behaviour), limits=LISTENING)


def test_a_slow_line_that_goes_on_is_not_cut_off(server):
    drip = dripping(PHOTO, every=0.05, size=len(PHOTO) // 30 + 1)
    url = server.serve(drip)

    body, fetched = get(url, limits=Limits(total=0.5, slowest=10, longest=60))

    assert body == PHOTO
    assert fetched.sha256 == hashlib.sha256(PHOTO).hexdigest()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        (Limits(total=0.5, slowest=1_000_000, longest=60), 16),  # slower than that
        (Limits(total=0.3, slowest=1, longest=0.6), 1),  # it goes on, but for ever
        (Limits(total=0.3, slowest=1, longest=0.1), 1),
    ],
)
def test_row_41_it_goes_on_for_so_long_only(server, limits, size):
    url = server.serve(dripping(PHOTO, every=0.05, size=size))

    with pytest.raises(Unreachable, match=r"took longer than 0\.\d seconds"):
        get(url, limits=limits)


def test_row_41_a_body_that_starts_well_and_then_trickles_is_cut_off(server):
    def start_well(wire: Wire) -> None:
        half = len(PHOTO) // 2
        answer(PHOTO[:half], length=len(PHOTO))(wire)
        wire.drip(PHOTO[half:], every=0.1)

    limits = Limits(total=0.5, slowest=1000, longest=60, read=1)
    with pytest.raises(Unreachable, match="took longer than"):
        get(server.serve(start_well), limits=limits)


def test_row_41_a_slow_tls_body_is_cut_off_too(authority):
    with HostileServer(tls=authority.server("localhost")) as server:
        url = server.serve(dripping(PHOTO, every=0.1)).replace("127.0.0.1", "localhost")

        with pytest.raises(Unreachable, match="took longer than 1 seconds"):
            get(url, limits=HURRIED, ca_bundle=authority.bundle)


def test_row_41_a_slow_tls_handshake_is_cut_off():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection:
                for byte in b"\x16\x03\x03\x3f\xff\x02" + bytes(500):
                    if over.wait(0.1):
                        return
                    connection.sendall(bytes([byte]))

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            with pytest.raises(Unreachable, match="took longer than 1 seconds"):
                get(f"https://127.0.0.1:{listener.getsockname()[1]}/photo", limits=HURRIED)
        finally:
            over.set()
            thread.join()


def test_row_41_no_thread_and_no_socket_of_a_transfer_stays_behind(monkeypatch):
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    # But for connections that are kept on purpose: test_keep_alive.py.
    monkeypatch.setattr(fetching._idle, "put", lambda _key, adapter: adapter.close())

    threads, files = set(threading.enumerate()), open_files()

    with HostileServer() as server:
        for behaviour in (stalling(PHOTO, 10), resetting, answer(PHOTO), redirect("/nowhere")):
            with suppress(FetchError):
                get(server.serve(behaviour), limits=LISTENING)
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=5)

    assert set(threading.enumerate()) <= threads
    assert open_files() == files


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(endless(), id="endless"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"), id="10 GB"),
        pytest.param(chunked(bytes(2_000_000)), id="chunked"),
    ],
)
def test_row_42_a_file_that_is_too_large_never_takes_more_than_we_allow(server, behaviour):
    part = io.BytesIO()

    with pytest.raises(TooLarge, match="larger than the 1 MB"):
        fetch(server.serve(behaviour), part, HERE, PATIENT, resolve=LOCALLY)

    assert len(part.getvalue()) <= 1_000_000


def test_row_42_a_file_of_just_the_allowed_size_is_taken(server):
    body, _ = get(server.serve(answer(PHOTO)), limits=Limits(max_bytes=len(PHOTO)))

    assert body == PHOTO


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, gzip"])
def test_row_43_a_packed_answer_is_not_unpacked(server, encoding):
    bomb = gzip.compress(bytes(40_000_000), compresslevel=1)
    packed = answer(bomb, headers=(("Content-Encoding", encoding),))
    redirected = answer(
        bomb, 302, headers=(("Content-Encoding", encoding), ("Location", server.serve(packed)))
    )
    url = server.serve(redirected)
    tracemalloc.start()

    with pytest.raises(Unreachable, match="packed"):
        get(url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 5_000_000


# --- 44: redirects ---


def test_row_44_three_redirects_are_followed_relative_ones_too(server):
    server.serve(answer(PHOTO), path="/photo")
    server.serve(redirect("photo", 308), path="/third")
    server.serve(redirect(server.url("/third"), 303), path="/second")

    body, _ = get(server.serve(redirect("/second", 301, body=b"moved"), path="/first"))

    assert body == PHOTO
    assert [request.path for request in server.requests] == [
        "/first",
        "/second",
        "/third",
        "/photo",
    ]


def test_row_44_a_fourth_redirect_is_not_followed(server):
    url = server.serve(redirect("/loop"), path="/loop")

    with pytest.raises(Unreachable, match="sends us on"):
        get(url)

    assert server.asked_for(url) == 4


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/photo",
        f"http://{STORE}/photo",
        f"https://user:secret@{STORE}/photo",
        f"https://{STORE}:8443/photo",
        "https://[/photo",
        "//evil.example.com/photo",
        "http:/\\evil.example.com",
        "https://127.0.0.1.evil.example.com/",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
    ],
)
def test_rows_44_and_112_a_redirect_goes_through_the_same_door(server, connections, location):
    with pytest.raises(Refused):
        get(server.serve(redirect(location)))

    assert connections == [("127.0.0.1", server.port)]


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "fd00:ec2::254"])
def test_row_112_a_redirect_to_a_name_in_a_private_network_is_refused(server, connections, private):
    def resolve(host: str) -> list[str]:
        return ["127.0.0.1"] if host == "127.0.0.1" else [private]

    with pytest.raises(Refused, match="private network"):
        get(server.serve(redirect(f"https://{STORE}/photo")), resolve=resolve)

    assert connections == [("127.0.0.1", server.port)]


# --- 45: checksums ---


def md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: S324


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-goog-hash", f"crc32c=AAAAAA==,md5={md5_of(PHOTO)}"),
        ("Content-MD5", md5_of(PHOTO)),
    ],
)
def test_row_45_a_checksum_that_agrees_vouches_for_a_file_without_length(server, header, value):
    _, fetched = get(server.serve(answer(PHOTO, length=None, headers=((header, value),))))

    assert fetched.length_verified


@pytest.mark.parametrize(
    "headers",
    [
        [("x-goog-hash", f"md5={md5_of(b'another')}")],
        [("x-goog-hash", "crc32c=AAAAAA=="), ("x-goog-hash", f"md5={md5_of(b'another')}")],
        [("Content-MD5", md5_of(b"another"))],
        [("Content-MD5", md5_of(PHOTO)), ("x-goog-hash", f"md5={md5_of(b'another')}")],
    ],
)
def test_row_45_a_checksum_that_disagrees_means_another_try(server, headers):
    with pytest.raises(Unreachable, match="checksum"):
        get(server.serve(answer(PHOTO, headers=tuple(headers))))


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-MD5", "not base64"), ("x-goog-hash", "md5=AAAA"), ("x-goog-hash", "md5")],
        [("x-goog-hash", f"md5={md5_of(b'zip')}"), ("x-goog-stored-content-encoding", "gzip")],
    ],
    ids=["unreadable", "of the packed file"],
)
def test_row_45_a_checksum_that_says_nothing_about_these_bytes_is_ignored(server, headers):
    body, _ = get(server.serve(answer(PHOTO, headers=tuple(headers))))

    assert body == PHOTO


# --- 110 and 111: where names and numbers lead ---


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0",
        "10.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.64.0.1",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
        "[fe80::1%25eth0]",
        PUBLIC_V4,
        f"[{PUBLIC_V6}]",
    ],
)
def test_row_110_an_address_that_names_a_number_is_refused(host, connections):
    with pytest.raises(Refused) as caught:
        get(f"https://{host}/photo", Policy(hosts=(host, host.strip("[]"))))

    assert not isinstance(caught.value, HostNotAllowed)  # nobody is asked to allow it
    assert connections == []


@pytest.mark.parametrize(
    "private",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:7f00:1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
        "localhost",
        "",
    ],
)
@pytest.mark.parametrize("beside", [(), (PUBLIC_V4,), (PUBLIC_V6, PUBLIC_V4)])
def test_rows_110_and_111_a_name_that_leads_into_a_private_network_is_refused(
    private, beside, connections
):
    with pytest.raises(Refused, match="private network"):
        get(f"https://{STORE}/photo", OFFICE, resolve=names(*beside, private))

    assert connections == []


@pytest.mark.parametrize("public", [PUBLIC_V4, PUBLIC_V6])
def test_row_111_the_connection_goes_to_the_address_that_was_checked(public, connections):
    asked = []

    def rebind(host: str) -> list[str]:
        asked.append(host)
        return [public] if len(asked) == 1 else ["127.0.0.1"]

    with pytest.raises(Unreachable, match="refused the connection"):
        get(f"https://{STORE}/photo", OFFICE, resolve=rebind)

    assert asked == [STORE]
    assert connections == [(public, 443)]


def test_row_111_a_name_without_answers_is_tried_again_later(connections):
    with pytest.raises(Unreachable):
        get(f"https://{STORE}/photo", OFFICE, resolve=names())

    assert connections == []


def test_row_111_a_name_with_a_thousand_answers_is_refused(connections):
    many = [f"8.8.{n // 250}.{n % 250}" for n in range(1000)]

    with pytest.raises(Refused, match="1000 places"):
        get(f"https://{STORE}/photo", OFFICE, resolve=names(*many))

    assert connections == []


def test_row_111_of_several_good_answers_only_a_few_are_tried_of_both_kinds(connections):
    with pytest.raises(Unreachable):
        get(
            f"https://{STORE}/photo",
            OFFICE,
            resolve=names("8.8.0.1", "8.8.0.1", "8.8.0.2", "8.8.0.3", "8.8.0.4", PUBLIC_V6),
        )

    assert connections == [("8.8.0.1", 443), (PUBLIC_V6, 443), ("8.8.0.2", 443)]


def test_a_loopback_name_must_lead_to_this_machine_only(connections):
    with pytest.raises(Refused, match="private network"):
        get("http://localhost:8080/photo", resolve=names("127.0.0.1", "192.168.1.1"))

    assert connections == []


def test_listing_this_machine_as_a_host_does_not_open_it(connections):
    with pytest.raises(Refused, match="private network"):
        get("https://localhost/photo", Policy(hosts=("localhost",)))

    assert connections == []


def test_loopback_works_over_ipv6_as_well():
    try:
        server = HostileServer(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        body, _ = get(server.serve(answer(PHOTO)), resolve=names("::1"))

    assert body == PHOTO
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


# --- 113: what an address may look like ---


@pytest.mark.parametrize(
    "url",
    [
        f"http://{STORE}/photo",
        f"HTTP://{STORE}/photo",
        "file:///etc/passwd",
        f"ftp://{STORE}/photo",
        f"gopher://{STORE}/photo",
        "data:image/png;base64,AAAA",
        f"//{STORE}/photo",
        f"{STORE}/photo",
        "",
        "https://",
        "https:///photo",
        f"https://user@{STORE}/photo",
        f"https://user:secret@{STORE}/photo",
        f"https://{STORE}\\@127.0.0.1/",
        f"https://{STORE}@127.0.0.1/",
        f"https://{STORE}%40127.0.0.1/",
        f"https://{STORE}#@127.0.0.1\\",
        f"https://{STORE[:5]}\t{STORE[5:]}/photo",
        f"https://{STORE}/pho\nto",
        f"https://{STORE}/photo\r\nX-Evil: 1",
        f"https://{STORE}\x00.evil.example.com/",
        f"https://{STORE}./photo",
        f"https://{STORE}:22/photo",
        f"https://{STORE}:25/photo",
        f"https://{STORE}:6379/photo",
        f"https://{STORE}:80/photo",
        f"https://{STORE}:99999/photo",
        f"https://{STORE}:-1/photo",
        f"https://{STORE}.evil.example.com/",
        f"https://evil{STORE}/",
        f"https://.{STORE}/",
        f"https://*.{STORE}/",
        "https://cdn.example.org/",
        "https://evilcdn.example.org/",
        "https://bücher.example.com/",
        "https://xn--bcher-kva.example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1/",
        "https://[v1.x]/",
        "https://" + "a" * 300 + ".cdn.example.org/",
        "https://" + "a." * 200 + "cdn.example.org/",
    ],
)
def test_row_113_an_address_that_is_not_plainly_allowed_is_refused(url, connections):
    with pytest.raises(Refused):
        get(url, OFFICE, resolve=names(PUBLIC_V4))

    assert connections == []


@pytest.mark.parametrize("host", ["１２７.０.０.１", "127。0。0。1", "⑴⑵⑺.0.0.1"])
def test_row_113_digits_in_disguise_are_read_as_what_they_are(host, connections):
    with pytest.raises(Refused) as caught:
        get(f"https://{host}/", Policy(hosts=("127.0.0.1", host)))

    assert not isinstance(caught.value, HostNotAllowed)
    assert connections == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://{STORE}/photo", STORE),
        (f"HTTPS://{STORE.upper()}:443/photo", STORE),
        ("https://a.b.cdn.example.org/i/1.jpeg?X-Sig=a%2Fb", "a.b.cdn.example.org"),
        (f"https://{STORE}/folder with space/café", STORE),
        (f"https://{STORE}?@evil.example.com", STORE),
        (
            f"https://{STORE}:0/photo",
            STORE,
        ),  # the library drops port 0: what counts is what is asked
    ],
)
def test_row_113_an_address_on_the_list_is_asked_for(url, host, connections):
    target = check_address(url, OFFICE)

    assert (target.scheme, target.host, target.port) == ("https", host, 443)
    assert connections == []


def test_an_unknown_host_is_named_so_that_an_operator_can_allow_it():
    with pytest.raises(HostNotAllowed) as caught:
        check_address("https://media.example.net/photo?Signature=abc", OFFICE)

    assert caught.value.host == "media.example.net"
    assert "Signature" not in caught.value.reason


def test_an_empty_list_allows_nobody():
    for hosts in ((), ("",), (".",)):
        with pytest.raises(HostNotAllowed):
            check_address(f"https://{STORE}/photo", Policy(hosts=hosts))


# --- 114 and 115: nothing of ours goes out ---


def test_row_114_proxies_and_netrc_of_the_environment_are_ignored(server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login office password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")

    body, _ = get(server.serve(answer(PHOTO)))

    assert body == PHOTO
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [302, 401])
def test_row_115_a_host_that_asks_for_credentials_or_sets_cookies_gets_nothing(server, status):
    server.serve(answer(PHOTO), path="/photo")
    headers = (
        ("WWW-Authenticate", 'Basic realm="photos"'),
        ("Set-Cookie", "track=1; Path=/"),
        ("Location", "/photo"),
    )
    url = server.serve(in_turn(answer(b"", status, headers=headers), answer(PHOTO)))

    if status == 401:
        with pytest.raises(Gone):
            get(url)
    get(url)

    assert len(server.requests) in (2, 3)
    for request in server.requests:
        assert not {"cookie", "authorization", "referer"} & request.headers.keys()


# --- what we say about it ---


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(b"", 404),
        answer(b"", 503),
        resetting,
        silent,
        answer(PHOTO, length=len(PHOTO) + 1),
        raw(b"HTTP/1.1 200 OK\r\nbroken header\r\nContent-Length: 9\r\n\r\n"),
        redirect("/elsewhere?Signature=hunter2", 302),
    ],
)
def test_row_134_no_signed_address_reaches_an_error_a_traceback_or_the_log(
    server, behaviour, caplog
):
    caplog.set_level(logging.DEBUG)
    url = server.serve(behaviour) + "?Signature=hunter2"

    with pytest.raises(FetchError) as caught:
        get(url, limits=LISTENING)

    told = "".join(traceback.format_exception(caught.value)) + caplog.text + caught.value.reason
    assert "hunter2" not in told
    assert str(caught.value) == caught.value.reason


def test_the_hostile_server_itself_can_be_closed_in_the_middle_of_an_answer():
    def never_ends(wire: Wire) -> None:
        wire.pause(3600)

    with HostileServer() as server:
        url = server.serve(never_ends)
        with pytest.raises(Unreachable):
            get(url, limits=LISTENING)

    assert server.asked_for(url) == 1
