"""A small store to ask for files, and nginx before it."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import flask_migrate

from benchmarks import hosts
from tests.support.pictures import picture
from tests.support.servers import free_port
from tests.support.stored_files import place
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.upkeep import identity

NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type image/jpeg; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream viewer {{ server 127.0.0.1:{behind}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://viewer; proxy_set_header Host $http_host;
                  proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /stored/ {{ internal; alias {media}/; etag off; }}
    location /plain/ {{ alias {media}/; }}
  }}
}}
"""


@dataclass(frozen=True)
class Stored:
    """A file of the store, and where nginx alone finds it."""

    id: str
    original: str  # the key of the store
    thumbnail: str


def fill(folder: Path, sizes: Sequence[int]) -> list[Stored]:
    """A store with originals of these sizes, each with a thumbnail of 27 kB, as photos have."""
    app = create_app(settings(folder))
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        moment = datetime.now(UTC)
        talk = Conversation(id=uuid.uuid4(), participants="+16175550123", created_at=moment)
        message = Message(
            id=uuid.uuid4(), conversation_id=talk.id, provider_id="ACfiles",
            kind=Message.Kind.TEXT, direction=Message.Direction.INCOMING, said={},
        )  # fmt: skip
        db.session.add_all([talk, message])
        thumbnail = picture(480, 360).ljust(27_000, b"\0")
        found = [
            add(message, number, thumbnail, b"\xff\xd8%06d" % number + os.urandom(size - 8))
            for number, size in enumerate(sizes)
        ]
        db.session.commit()
        db.session.remove()
        db.engine.dispose()
    return found


def add(message: Message, number: int, thumbnail: bytes, original: bytes) -> Stored:
    stem = f"2026/09/21/617-555-0123/messages/1790000000_photo{number}"
    moment, state = datetime.now(UTC), MediaAttachment.State.STORED
    media = MediaAttachment(
        id=uuid.uuid4(), conversation_id=message.conversation_id, message_id=message.id,
        position=number, source_key=str(number), media_type="photo", said={}, sent_at=moment,
        file_path=f"{stem}.jpg", file_stem=stem, file_size=len(original), mime_type="image/jpeg",
        sha256=sha256(original).hexdigest(), storage=holdings.own_id(), verified_at=moment,
        downloaded_at=moment, state=state, copy_state=MediaAttachment.CopyState.MADE,
        thumbnail_path=f"{stem}_thumb.jpg", width=1600, height=1200,
    )  # fmt: skip
    db.session.add(media)
    for key, content in ((f"{stem}.jpg", original), (f"{stem}_thumb.jpg", thumbnail)):
        place(content, key, holdings.spool(), holdings.own())
    return Stored(str(media.id), f"{stem}.jpg", f"{stem}_thumb.jpg")


def settings(folder: Path, **words: str) -> dict[str, str]:
    return {
        "DATA_DIR": str(folder),
        "QUO_WEBHOOK_SECRETS": "whsec_YmVuY2gtb25seS1rZXktYmVuY2g=",
        "QUO_NUMBERS": "+16175550100",
        "REDIS_URL": "unix:///nowhere",
        "LOG_LEVEL": "WARNING",
        **words,
    }


@contextmanager
def viewer_web(folder: Path, checkout: Path, **words: str) -> Iterator[tuple[int, int]]:
    """`viewer web` of this checkout, with two workers as by default: its port and process."""
    port = free_port()
    environment = settings(folder, **words)
    command = (*hosts.VIEWER, "web", "--port", str(port))
    with hosts.serving(command, port, checkout, **environment) as pid:
        yield port, pid


@contextmanager
def nginx_before(behind: int, folder: Path) -> Iterator[tuple[int, int]]:
    """nginx before the viewer of this port, on this folder: its port and process."""
    room, port = folder / "nginx", free_port()
    room.mkdir(exist_ok=True)
    (room / "nginx.conf").write_text(
        NGINX.format(
            folder=room,
            port=port,
            behind=behind,
            media=folder / "media",
            user="user root;" if os.getuid() == 0 else "",
        )
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = (program, "-c", str(room / "nginx.conf"), "-p", str(room))
    with hosts.serving(command, port) as pid:
        yield port, pid
