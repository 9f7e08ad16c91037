"""Who copies the bytes of a file to the client: the kernel, or we."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.http.wsgi import FileWrapper

from tests.support.stored_files import place
from viewer.storage import Opened, Workspace
from viewer.storage.folder import Folder
from viewer.web.media.files import CHUNK, SEND_BUFFER, body_of

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"


class Elsewhere(io.BytesIO):
    """A file of another host, as those in S3 and behind SSH are: it has no descriptor here."""

    size = CHUNK * 2


def on_this_host(tmp_path: Path, size: int) -> Opened:
    folder = Folder(tmp_path / "media")
    place(bytes(size), KEY, Workspace(folder.root, folder), folder)
    return folder.open(KEY)


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """The server's end of a connection from this host."""
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname()),
        door.accept()[0] as accepted,
    ):
        yield accepted


def test_the_kernel_sends_a_large_file_of_this_host(tmp_path):
    file = on_this_host(tmp_path, CHUNK + 1)

    body = body_of(file, {"wsgi.file_wrapper": FileWrapper})

    assert isinstance(body, FileWrapper)
    assert body.filelike is file
    body.close()
    with pytest.raises(ValueError, match="closed file"):
        file.read()


@pytest.mark.parametrize("kind", ["small", "elsewhere", "without a wrapper"])
def test_other_files_are_read_by_us(kind, tmp_path):
    size = CHUNK if kind == "small" else CHUNK * 2
    file = Elsewhere(bytes(size)) if kind == "elsewhere" else on_this_host(tmp_path, size)

    body = body_of(file, {} if kind == "without a wrapper" else {"wsgi.file_wrapper": FileWrapper})

    assert not isinstance(body, FileWrapper)
    assert b"".join(body) == bytes(size)
    assert file.closed


def test_a_proxy_on_this_host_gets_a_small_buffer(line, tmp_path):
    before = line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with on_this_host(tmp_path, CHUNK + 1) as file:
        body_of(file, {"wsgi.file_wrapper": FileWrapper, "gunicorn.socket": line})

    assert before > SEND_BUFFER * 2 >= line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_a_unix_socket_is_left_alone(tmp_path):
    ours, theirs = socket.socketpair()
    with ours, theirs, on_this_host(tmp_path, CHUNK + 1) as file:
        before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        body_of(file, {"wsgi.file_wrapper": FileWrapper, "gunicorn.socket": ours})

        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before


def test_a_client_that_has_gone_is_left_to_the_server(tmp_path):
    with socket.socket() as gone, on_this_host(tmp_path, CHUNK + 1) as file:
        body = body_of(file, {"wsgi.file_wrapper": FileWrapper, "gunicorn.socket": gone})

    assert isinstance(body, FileWrapper)
