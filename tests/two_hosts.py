"""Two hosts behind a balancer, each killed in turn; nothing may be lost, and no page may fail.

    python -m tests.two_hosts --events 500 --seconds 120 --every 10

Each host is a whole `viewer up` in a network namespace and with a name of its own. They share a
PostgreSQL, a Valkey and a bucket over the network, and have a media folder each. All that runs on a
host dies at once (SIGKILL), as with its power, and is started again. The provider delivers texts
with three photos until each is answered 2xx, and readers ask for pages. Then the bytes in the
bucket and those that are served must be the bytes sent, as sets. Needs root. Exits with 1 if
anything is wrong.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests
import sqlalchemy as sa

from tests.payloads import Message, signed
from tests.support import object_stores, servers, staff
from tests.support.pictures import picture
from tests.support.sites import certify, replaced
from tests.support.webhooks import SECRET
from viewer import storage
from viewer.demo.provider import Provider

ROOT = Path(__file__).parent.parent
BALANCER = ROOT / "deploy" / "two-hosts" / "balancer.conf"
SHARED = "10.77.0.1"  # of what both hosts share
ADDRESSES = {"first": "10.77.0.11", "second": "10.77.0.12"}
PORT = 8000
OFF_FOR = 2.0  # seconds, until a killed host is started again
PHOTOS = 3  # of a text


@dataclass
class Outcome:
    events: int
    photos: int = 0
    kills: int = 0
    seconds: float = 0.0  # until everything was stored in the bucket
    answers: Counter[str] = field(default_factory=Counter)  # by what was asked and the status
    wrong: list[str] = field(default_factory=list)


class Host:
    """A network namespace with a whole viewer in it."""

    def __init__(
        self, name: str, folder: Path, settings: dict[str, str], provider_port: int
    ) -> None:
        self.name, self.address = name, ADDRESSES[name]
        self.space = f"{name}-{os.getpid()}"
        self.folder = folder / name
        self.folder.mkdir()
        self.environment = os.environ | settings | {
            "DATA_DIR": str(self.folder / "data"), "MEDIA_ROOT": str(self.folder / "media"),
        }  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []
        # No viewer asks a private address: this host reaches the provider on loopback.
        self.to_provider = nginx_in(
            self.folder / "to-provider",
            f"server {{ listen 127.0.0.1:{provider_port};"
            f" location / {{ proxy_pass http://{SHARED}:{provider_port}; }} }}",
        )

    def run(self, *words: str) -> "subprocess.Popen[bytes]":
        """A command on this host."""
        inside = ["ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c"]
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [*inside, 'hostname "$0" && exec "$@"', self.name, *words],
                env=self.environment, cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        self.processes += [
            self.run(*self.to_provider),
            self.run(*staff.COMMAND, "up", "--host", self.address, "--port", str(PORT)),
        ]

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://{self.address}:{PORT}/healthz", timeout=2).ok
        return False

    def kill(self) -> None:
        """All that runs on it, and what that starts meanwhile."""
        while found := self._pids():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        while self.processes:
            self.processes.pop().wait()

    def _pids(self) -> list[int]:
        said = subprocess.run(
            ["ip", "netns", "pids", self.space], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in said.stdout.split()]


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A bridge with what is shared, and a host on each of two cables."""
    names = {name: f"{name}-{os.getpid()}" for name in ADDRESSES}

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    try:
        ip("link", "set", "lo", "up")
        ip("link", "add", "shared", "type", "bridge")
        ip("address", "add", f"{SHARED}/24", "dev", "shared")
        ip("link", "set", "shared", "up")
        for name, space in names.items():
            ip("netns", "add", space)
            ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"to-{name}", "master", "shared", "up")
            for words in (
                ("address", "add", f"{ADDRESSES[name]}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", space, *words)
        yield
    finally:
        for space in names.values():
            subprocess.run(["ip", "netns", "delete", space], check=False)


def nginx_in(folder: Path, configuration: str) -> list[str]:
    """The command that starts an nginx with these servers; what it writes lies in the folder."""
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{\n access_log off; client_body_temp_path {folder}/body;\n"
        f" proxy_temp_path {folder}/proxy;\n{configuration}\n}}\n"
    )
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _balanced(folder: Path) -> str:
    """deploy/two-hosts/balancer.conf, with our addresses and a certificate of our own."""
    certify(folder, SHARED)
    return replaced(
        BALANCER.read_text(),
        ("10.0.0.11", ADDRESSES["first"]),
        ("10.0.0.12", ADDRESSES["second"]),
        ("/etc/letsencrypt/live/viewer.example.com", str(folder)),
        ("viewer.example.com", SHARED),
    )


class Scene:
    def __init__(self, hosts: list[Host], provider: Provider, events: int, seed: int) -> None:
        self.hosts, self.provider, self.seed = hosts, provider, seed
        self.url = f"https://{SHARED}"
        self.sent: Counter[str] = Counter()  # SHA-256
        self.outcome = Outcome(events)
        self.is_over = threading.Event()

    def deliver(self, seconds: float) -> None:
        """Texts at an even pace, each until it is answered 2xx."""
        begun, threads = time.monotonic(), []
        for number in range(self.outcome.events):
            time.sleep(max(0.0, begun + seconds * number / self.outcome.events - time.monotonic()))
            threads.append(threading.Thread(target=self._deliver, args=(self._message(number),)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _message(self, number: int) -> Message:
        photos = [
            picture(400, 300, comment=f"{number}, {position}".encode())
            for position in range(PHOTOS)
        ]
        self.sent.update(hashlib.sha256(photo).hexdigest() for photo in photos)
        port = self.provider.url.rpartition(":")[2]
        media = [
            self.provider.serve(photo).replace(self.provider.url, f"http://127.0.0.1:{port}")
            for photo in photos
        ]
        return Message(
            number=number, text=f"both {number}", media=media, conversation=None,
            sender=f"+1617555{100 + number % 100:04d}",
        )  # fmt: skip

    def _deliver(self, message: Message) -> None:
        body, headers = signed(
            message.payload("d3"), "standard", SECRET, delivery_id=f"msg_both{message.number}"
        )
        status = 0
        while not 200 <= status < 300:
            with contextlib.suppress(requests.RequestException):
                status = requests.post(
                    f"{self.url}/webhooks/quo", data=body, headers=headers, timeout=20, verify=False
                ).status_code  # fmt: skip
                self.outcome.answers[f"webhook {status}"] += 1
            time.sleep(0.2)

    def read(self) -> None:
        """Pages, one after another, and the thumbnails on them."""
        chance, browser = random.Random(self.seed), enter(self.url)
        while not self.is_over.wait(0.2):
            inbox = self._get(browser, "/", "page")
            talks = [part[:36] for part in inbox.split("/conversations/")[1:]]
            if not talks:
                continue
            page = self._get(browser, f"/conversations/{chance.choice(talks)}", "page")
            photos = [part.partition('"')[0] for part in page.split('src="/media/')[1:]]
            for photo in chance.sample(photos, min(3, len(photos))):
                self._get(browser, f"/media/{photo}", "thumbnail")

    def _get(self, browser: requests.Session, path: str, kind: str) -> str:
        try:
            answer = browser.get(f"{self.url}{path}", timeout=30)
        except requests.RequestException as trouble:
            self.outcome.answers[f"{kind} {type(trouble).__name__}"] += 1
            return ""
        self.outcome.answers[f"{kind} {answer.status_code}"] += 1
        return answer.text if answer.ok else ""

    def torment(self, every: float, is_enough: threading.Event) -> None:
        """Kill one host after the other, and only one that is not alone."""
        while not is_enough.is_set():
            for host in self.hosts:
                if is_enough.wait(every):
                    return
                servers.wait_until(lambda: all(one.answers() for one in self.hosts), 120)
                host.kill()
                self.outcome.kills += 1
                time.sleep(OFF_FOR)
                host.start()

    def compare(self, engine: sa.Engine, store: storage.Store) -> None:
        wrong, answers = self.outcome.wrong, self.outcome.answers
        with engine.connect() as connection:
            rows = connection.execute(
                sa.text("SELECT id, file_path, sha256, storage FROM media_attachments")
            ).all()
            texts = connection.scalar(sa.text("SELECT count(*) FROM messages"))
        self.outcome.photos = len(rows)
        if texts != self.outcome.events:
            wrong.append(f"{texts} messages of {self.outcome.events}")
        browser, served, kept = enter(self.url), Counter[str](), Counter[str]()
        for row in rows:
            content = browser.get(f"{self.url}/media/{row.id}", timeout=30).content
            served[hashlib.sha256(content).hexdigest()] += 1
            kept[storage.checksum(store.open(row.file_path)).sha256] += 1
        for name, found in (("served", served), ("in the bucket", kept)):
            if found != self.sent:
                lost, doubled = self.sent - found, found - self.sent
                wrong.append(f"{name}: {lost.total()} lost, {doubled.total()} doubled or strange")
        if failed := {name: n for name, n in answers.items() if _is_failure(name)}:
            wrong.append(f"pages failed: {failed}")


def _is_failure(answer: str) -> bool:
    kind, _, status = answer.partition(" ")
    return kind == "page" and status != "200"


def enter(url: str) -> requests.Session:
    """A browser in which the owner has logged in, and that knows our certificate."""
    return staff.enter(url, verify=False)


def both(events: int, seconds: float, every: float, folder: Path, seed: int = 1) -> Outcome:
    with contextlib.ExitStack() as stack:
        stack.enter_context(network())
        postgres = stack.enter_context(servers.running_postgres(address=SHARED))
        redis_url = stack.enter_context(servers.running_valkey(SHARED))
        bucket_server = stack.enter_context(object_stores.running_seaweed(SHARED))
        provider = stack.enter_context(Provider(SHARED))
        bucket = bucket_server.address(bucket_server.new_bucket(), "photos")
        database_url = postgres.url(postgres.create())
        settings = {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STORAGE_URL": bucket,
            **object_stores.SETTINGS,
            "SECRET_KEY": f"both-{uuid.uuid4()}",
            "QUO_WEBHOOK_SECRETS": SECRET,
            "QUO_NUMBERS": "+16175550100",
            "MEDIA_HOSTS": "127.0.0.1",
            "MEDIA_ALLOW_LOOPBACK": "1",
            "PROXY_HOPS": "1",
            "WORKERS": "1",
            "LOG_LEVEL": "WARNING",
        }
        port = int(provider.url.rpartition(":")[2])
        first, second = hosts = [Host(name, folder, settings, port) for name in ADDRESSES]
        for host in hosts:
            stack.callback(host.kill)
        stack.enter_context(running(nginx_in(folder / "balancer", _balanced(folder))))
        first.start()
        servers.wait_until(first.answers, 120)
        staff.hire(first.environment)
        assert second.run(*staff.COMMAND, "storage", "join").wait() == 0
        second.start()
        servers.wait_until(second.answers, 120)

        scene = Scene(hosts, provider, events, seed)
        engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        stack.callback(engine.dispose)
        is_enough, begun = threading.Event(), time.monotonic()
        reading = [threading.Thread(target=scene.read) for _ in range(2)]
        killing = threading.Thread(target=scene.torment, args=(every, is_enough))
        for thread in (*reading, killing):
            thread.start()
        try:
            scene.deliver(seconds)
        finally:
            is_enough.set()
            killing.join()
        servers.wait_until(lambda: _is_done(engine, events * PHOTOS), 600)
        scene.outcome.seconds = round(time.monotonic() - begun, 1)
        scene.is_over.set()
        for thread in reading:
            thread.join()
        store = storage.from_url(bucket, credentials=object_stores.CREDENTIALS)
        store.expect(str(store.identity()))
        scene.compare(engine, store)
        return scene.outcome


def _is_done(engine: sa.Engine, photos: int) -> bool:
    """Everything is in the bucket, with its copies."""
    time.sleep(0.5)
    done = (
        "SELECT count(*) FROM media_attachments JOIN stores ON stores.id = storage"
        " WHERE state = 'stored' AND copy_state = 'made' AND stores.is_wanted"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(done)) == photos)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120, help="in which they are delivered")
    parser.add_argument("--every", type=float, default=10, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    if "VIEWER_LAN" not in os.environ:  # begin anew, where nobody else has a network
        os.environ["VIEWER_LAN"] = "1"
        again = [sys.executable, "-m", "tests.two_hosts", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "--", *again])
    with tempfile.TemporaryDirectory(prefix="both") as name:
        outcome = both(given.events, given.seconds, given.every, Path(name), given.seed)
    print(json.dumps(vars(outcome) | {"seed": given.seed}))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
