"""All files move to S3 and back while people look at them, and the move is killed again and again.

    python -m tests.moving --files 5000 --kilobytes 200 --kills 10 --database postgresql

Four readers compare every byte that a whole `viewer up` gives them, and texts with photos go on
arriving, while `viewer storage move` is killed and begun anew, there and back. After each way a
backup is made and the former store is cleared. No read may fail, every hash must be right, and
nothing may be left behind. Exits with 1 if anything is wrong.
"""

import argparse
import contextlib
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import requests
import sqlalchemy as sa

from tests.payloads import Message, signed
from tests.support import factories, object_stores, servers, staff
from tests.support.hosts import Up
from tests.support.pictures import picture
from tests.support.stored_files import keep, place
from tests.support.webhooks import SECRET
from viewer import create_app, holdings, storage
from viewer.demo.provider import Provider
from viewer.extensions import db, one_query
from viewer.models import MediaAttachment
from viewer.storage import keys
from viewer.upkeep.move import clearing

READERS = 4
PAUSE = 0.1  # seconds between two reads of each
TEXT_EVERY = 1.0  # seconds
SHORTEST, LONGEST = 1.0, 6.0  # seconds that a move lives before it is killed
LASTS = 10.0  # seconds at least, of a move that is to be killed
SLOWEST = 0.1  # MB a second, of what may be asked for


@dataclass
class Outcome:
    files: int = 0
    reads: int = 0
    texts: int = 0
    kills: int = 0
    there: float = 0.0  # seconds, with the kills
    back: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """A running viewer, what it was given, and what its readers saw."""

    up: Up
    settings: dict[str, str]
    provider: Provider
    chance: random.Random
    sums: dict[str, str]  # SHA-256 of what a page gives, by its path
    size: int = 0  # bytes of the originals at the beginning
    outcome: Outcome = field(default_factory=Outcome)
    is_over: threading.Event = field(default_factory=threading.Event)
    are_texts_coming: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        browsers = [staff.enter(self.up.url) for _ in range(READERS)]
        work = [threading.Thread(target=self._read, args=(browser,)) for browser in browsers]
        work.append(threading.Thread(target=self._text))
        for thread in work:
            thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            for thread in work:
                thread.join()

    def _read(self, browser: requests.Session) -> None:
        paths = list(self.sums)
        while not self.is_over.wait(PAUSE):
            path = self.chance.choice(paths)
            try:
                answer = browser.get(f"{self.up.url}{path}", timeout=30)
            except requests.RequestException as trouble:
                self.outcome.wrong.append(f"{path}: {trouble}")
                continue
            self.outcome.reads += 1
            if hashlib.sha256(answer.content).hexdigest() != self.sums[path]:
                self.outcome.wrong.append(f"{path}: {answer.status_code}")

    def _text(self) -> None:
        while not self.is_over.wait(TEXT_EVERY):
            if not self.are_texts_coming.is_set():
                continue
            number = self.outcome.texts
            url = self.provider.serve(picture(100 + number % 400, 60 + number // 400))
            message = Message(
                number=number, text=f"moving {number}", media=[url], conversation=None,
                sender="+16175550199",
            )  # fmt: skip
            body, headers = signed(message.payload("d3"), "standard", SECRET)
            answer = requests.post(
                f"{self.up.url}/webhooks/quo", data=body, headers=headers, timeout=30
            )
            self.outcome.texts += 1
            if not answer.ok:
                self.outcome.wrong.append(f"webhook: {answer.status_code}")

    def move(self, url: str, former: str, kills: int) -> float:
        """Move everything, killed so many times; then clear and compare. Seconds of the move."""
        self.are_texts_coming.set()
        begun = time.monotonic()
        while kills > 0:
            pace = max(self.size / LASTS / 1e6, SLOWEST)
            run = self._begin(url, "--max-mb-per-second", f"{pace:g}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(self.chance.uniform(SHORTEST, LONGEST))
            if run.returncode is None:
                run.kill()
                run.wait()
                kills, self.outcome.kills = kills - 1, self.outcome.kills + 1
            elif run.returncode == 0:
                break  # everything was moved sooner: how many kills there were is said
            else:  # the killed one's lease has not ended
                time.sleep(1)
        servers.wait_until(lambda: self._begin(url).wait() == 0, 300)
        took = time.monotonic() - begun
        self.are_texts_coming.clear()
        self._clear()
        self._compare(url, former)
        return took

    def _begin(self, url: str, *words: str) -> "subprocess.Popen[bytes]":
        return self._command("storage", "move", "--to", url, *words)

    def _command(self, *words: str) -> "subprocess.Popen[bytes]":
        with (self.up.data_dir / "log").open("a") as log:
            return subprocess.Popen(
                [*staff.COMMAND, *words], env=self.up.environment, cwd=self.up.data_dir,
                stdout=log, stderr=log,
            )  # fmt: skip

    def _clear(self) -> None:
        """Let what came be pushed; then make a backup, and remove what the former store has."""
        self._wait_for_all()
        target = str(self.up.data_dir.parent / "backup")
        done = self._command("backup", "--to", target, "--same-filesystem").wait()
        assert done == 0, (self.up.data_dir / "log").read_text()[-4000:]
        with self._app():
            clearing.clear()

    def _wait_for_all(self) -> None:
        media = MediaAttachment
        is_open = (
            (media.state != media.State.STORED)
            | (media.copy_state != media.CopyState.MADE)
            | media.push_due_at.is_not(None)
        )
        count = sa.select(sa.func.count(media.id))

        def is_done() -> bool:
            with self._app(), one_query() as connection:
                done = connection.scalar(count.where(~is_open))
            return bool(done == len(self.sums) // 2 + self.outcome.texts)

        try:
            servers.wait_until(is_done, 600)
        except TimeoutError:
            ways = (media.state, media.copy_state, media.push_problem)
            with self._app(), one_query() as connection:
                found = connection.execute(sa.select(*ways, sa.func.count()).group_by(*ways)).all()
            raise TimeoutError(f"{self.outcome.texts} texts came, and rows are {found}") from None

    def _compare(self, url: str, former: str) -> None:
        with self._app():
            rows = db.session.scalars(sa.select(MediaAttachment)).all()
            named = {key for row in rows for key in (row.file_path, *row.copies.values())}
            db.session.commit()
        store, wrong = _store(url, self.settings), self.outcome.wrong
        if len(homes := {(row.storage, row.former_storage) for row in rows}) != 1:
            wrong.append(f"rows name {homes}")
        if left := _media_in(_store(former, self.settings)):
            wrong.append(f"{len(left)} left behind, such as {min(left)}")
        if (there := _media_in(store)) != named:
            wrong.append(f"lost {named - there}, strange {there - named}")
        for row in rows:
            if storage.checksum(store.open(row.file_path)).sha256 != row.sha256:
                wrong.append(f"{row.file_path} has other bytes")
        self.outcome.files = len(rows)

    @contextlib.contextmanager
    def _app(self) -> Iterator[None]:
        """The viewer's own code on the same rows and stores."""
        app = create_app(dict(self.settings))
        with app.app_context():
            try:
                yield
            finally:
                db.session.remove()
                db.engine.dispose()

    def fill(self, files: int, size: int) -> None:
        """Photos of so many bytes, with thumbnail and preview; all of one customer."""
        self.size = files * size
        with self._app():
            text = factories.text(factories.customer("+16175550123"))
            for number in range(files):
                content = picture(64, 48) + self.chance.randbytes(size)
                media = keep(content, text, position=number)
                stem = media.file_stem
                for use in ("thumbnail", "preview"):
                    key = keys.derivative(media.file_path, use, "jpg")
                    copy = picture(64, 48) + stem.encode()
                    place(copy, key, holdings.spool(), holdings.own())
                    setattr(media, f"{use}_path", key)
                db.session.commit()
                self.sums[f"/media/{media.id}"] = media.sha256 or ""
                self.sums[f"/media/{media.id}/thumbnail"] = hashlib.sha256(copy).hexdigest()


def _store(url: str, settings: dict[str, str]) -> storage.Store:
    address = f"folder:{settings['MEDIA_ROOT']}" if url == "folder:" else url
    found = storage.from_url(address, credentials=object_stores.CREDENTIALS)
    found.expect(str(found.identity()))
    return found


def _media_in(store: storage.Store) -> set[str]:
    return {key for key, _ in store.keys("") if keys.is_media(key)}


def moved_there_and_back(
    files: int, size: int, kills: int, database_url: str, folder: Path, seed: int = 1
) -> Outcome:
    """`size` is that of an original, in bytes."""
    with (
        object_stores.running_seaweed() as server,
        Provider() as provider,
        contextlib.ExitStack() as stack,
    ):
        url = server.address(server.new_bucket(), "photos")
        data = folder / "data"
        data.mkdir()
        settings = {
            "DATA_DIR": str(data),
            "DATABASE_URL": database_url,
            "MEDIA_ROOT": str(folder / "media"),
            **object_stores.SETTINGS,
            "KEEP_MOVED_DAYS": "0",
            "LOG_LEVEL": "WARNING",
        }
        up = Up(data, **settings)
        stack.callback(up.end)
        staff.hire(up.wait().environment, data)
        scene = Scene(up, settings, provider, random.Random(seed), {})
        scene.fill(files, size)
        with scene.in_use():
            scene.outcome.there = scene.move(url, "folder:", kills // 2)
            scene.outcome.back = scene.move("folder:", url, kills - kills // 2)
        return scene.outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moving") as name, contextlib.ExitStack() as stack:
        database_url = ""
        if given.database == "postgresql":
            server = stack.enter_context(servers.running_postgres())
            database_url = server.url(server.create())
        outcome = moved_there_and_back(
            given.files, given.kilobytes * 1000, given.kills, database_url, Path(name), given.seed
        )
    print(json.dumps(asdict(outcome) | {"seed": given.seed}))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
