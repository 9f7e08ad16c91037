"""Processes that may die, and what the world outside knows meanwhile."""

import io
import multiprocessing
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.crash import checks, disks, runner
from tests.payloads import Message, signed
from tests.support.hostile_server import HostileServer, Wire, answer, in_turn
from tests.support.webhooks import OUR_NUMBER, SECRET
from viewer.demo.provider import Provider

NOWHERE = "unix:///nonexistent/valkey.sock"  # the sweep must be able to do it all
KILLED = -signal.SIGKILL


class Run:
    """A process at work."""

    def __init__(self, context: Any, orders: runner.Orders) -> None:
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=runner.be_forked, args=(orders, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def heard(self) -> Any:
        """The next thing it says."""
        assert self._pipe.poll(20), "it said nothing"
        return self._pipe.recv()

    def go(self) -> None:
        """Go on, where it waits before it begins."""
        self._pipe.send(None)

    def ended(self) -> int:
        """How it ended: 0, or minus the signal."""
        self.process.join(60)
        code = self.process.exitcode
        assert code is not None, "it does not end"
        return int(code)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@dataclass(frozen=True)
class Scene:
    """One viewer: where its data lie, and what the world knows of it."""

    settings: dict[str, Any]
    provider: Provider
    context: Any
    known: checks.Known = field(default_factory=checks.Known)

    @property
    def media_root(self) -> Path:
        return Path(self.settings["MEDIA_ROOT"])

    @property
    def database_url(self) -> str:
        return str(self.settings["DATABASE_URL"])

    def start(self, action: str, **words: Any) -> Run:
        return Run(self.context, runner.Orders(action, self.settings, **words))

    def run(self, action: str, **words: Any) -> int:
        """Do it to its end, which may be a violent one."""
        return self.start(action, **words).ended()

    def receive(self, *messages: Message, action: str = "receive") -> None:
        """Deliver, and remember what was answered."""
        deliveries = [self.signed(message) for message in messages]
        run = self.start(action, deliveries=[(body, headers) for _, body, headers in deliveries])
        for name, body, _ in deliveries:
            assert run.heard() == 204
            self.known.answered[name] = body
        assert run.ended() == 0

    def post(self, port: int, message: Message) -> int | None:
        """Deliver over real HTTP; the status that the client read, None if it read none."""
        name, body, headers = self.signed(message)
        try:
            answer = requests.post(
                f"http://127.0.0.1:{port}/webhooks/quo", data=body, headers=headers, timeout=60
            )
        except requests.RequestException:
            return None
        if answer.ok:
            self.known.answered[name] = body
        return answer.status_code

    def signed(self, message: Message) -> tuple[str, str, dict[str, str]]:
        body, headers = signed(
            message.payload(), "standard", SECRET, delivery_id=f"msg_{message.number}"
        )
        return headers["webhook-id"], body.decode(), headers

    def photos(self, count: int = 1, **words: Any) -> list[str]:
        """Addresses of so many different photos."""
        contents = [photo() for _ in range(count)]
        urls = [
            self.provider.serve(content, content_type="image/jpeg", **words) for content in contents
        ]
        self.known.served.update(zip(urls, contents, strict=True))
        return urls

    def announced(self, message: Message) -> None:
        """Deliver and ingest: the rows are there, the files are still to come."""
        self.receive(message, action="announce")

    def announced_half(self, server: HostileServer, message: Callable[..., Message]) -> Any:
        """Announce a photo that stops in the middle the first time; an event says when it has."""
        [template] = self.photos()
        content = self.known.served.pop(template)
        half_is_out = threading.Event()

        def half(wire: Wire) -> None:
            answer(content[:30_000], length=len(content))(wire)
            half_is_out.set()
            wire.pause(20)

        url = server.serve(in_turn(half, answer(content)))
        self.known.served[url] = content
        self.announced(message(media=[url]))
        return half_is_out

    def recover(self, **words: Any) -> int:
        """What fresh processes do after the crash, once the lease is over."""
        return self.run("everything", later=runner.LATER, **words)

    def rows(self) -> list[Any]:
        return checks.media_rows(self.database_url)

    def violations(self) -> list[str]:
        return checks.violations(self.database_url, self.media_root, self.known)

    def unsettled(self) -> list[str]:
        return checks.unsettled(self.database_url, self.media_root, self.known)


def photo() -> bytes:
    """A picture like no other, of some 60 kB: more than a page, less than a second."""
    out = io.BytesIO()
    Image.effect_noise((320, 240), 90).save(out, "JPEG", quality=92)
    return out.getvalue()


@pytest.fixture(scope="session")
def context() -> Any:
    """Forks processes from one that has everything imported and no threads."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["pytest", "tests.crash.runner"])
    return made


@pytest.fixture
def message() -> Callable[..., Message]:
    numbers = iter(range(1, 10_000))
    return lambda **words: Message(number=next(numbers), **words)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture
def new_scene(context: Any, provider: Provider, migrated: Any) -> Callable[..., Scene]:
    """A viewer that was started once: an empty database in `data`, its marker in `media`."""

    def make(data: Path, media: Path, **settings: Any) -> Scene:
        data.mkdir(parents=True, exist_ok=True)
        media.mkdir(parents=True, exist_ok=True)
        if "DATABASE_URL" not in settings:
            shutil.copy(migrated("sqlite"), data / "viewer.db")
        scene = Scene(_settings(data, media) | settings, provider, context)
        assert scene.run("start") == 0
        return scene

    return make


def _settings(data: Path, media: Path) -> dict[str, Any]:
    return {
        "DATA_DIR": str(data),
        "MEDIA_ROOT": str(media),
        "DATABASE_URL": f"sqlite:///{data / 'viewer.db'}",
        "REDIS_URL": NOWHERE,
        "SECRET_KEY": "only-for-tests-0123456789abcdef-0",
        "QUO_WEBHOOK_SECRETS": SECRET,
        "QUO_NUMBERS": OUR_NUMBER,
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": True,
        "TRANSFER_SECONDS": 20,
    }


@pytest.fixture
def scene(new_scene: Callable[..., Scene], stack: ExitStack) -> Scene:
    """A viewer in memory, for deaths without a power cut."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=disks.fast_folder())))
    return new_scene(folder / "data", folder / "media")


@dataclass(frozen=True)
class Machine:
    """Two disks of one computer: the database on one, the media on the other."""

    database: disks.Disk
    media: disks.Disk


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    disks.needs_mounts()
    with ExitStack() as stack:
        yield Machine(disks.Disk(stack), disks.Disk(stack))


@dataclass(frozen=True)
class Powered:
    """A viewer on these disks, whose power may be cut."""

    scene: Scene
    machine: Machine
    name: str

    def sync(self) -> None:
        """What is there now stays, whatever comes."""
        self.machine.database.sync()
        self.machine.media.sync()

    @contextmanager
    def after_power_cut(self) -> Iterator[Scene]:
        """The same viewer, as it is found when the power has failed now and come back."""
        database, media_disk = self.machine.database, self.machine.media
        with database.after_power_cut() as data, media_disk.after_power_cut() as media:
            settings = _settings(data / self.name, media / self.name)
            yield replace(self.scene, settings=self.scene.settings | settings)


@pytest.fixture
def powered(new_scene: Callable[..., Scene], machine: Machine) -> Powered:
    """A viewer of its own for each test, in new folders of the two disks."""
    name = uuid.uuid4().hex
    scene = new_scene(machine.database.path / name, machine.media.path / name)
    made = Powered(scene, machine, name)
    made.sync()
    return made
