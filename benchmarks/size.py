"""Does a page stay quick while the tables grow a hundredfold? `make bench` asks.

Two companies of the same three years, made by chance but always alike: one with 10,000 messages and
1,000 files, one with 1,000,000 and 100,000. The same pages are asked of both in turn, so whatever
else the machine does slows both; what counts is the ratio of the medians.

    python -m benchmarks.size [--database sqlite|postgresql] [--folder /tmp/inbox] [--rounds 40]
"""

import argparse
import itertools
import json
import random
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import psycopg
import sqlalchemy as sa
from flask import Flask, g, session
from flask.testing import FlaskClient
from psycopg import sql

from tests.support import servers
from viewer import create_app
from viewer.extensions import db, sqlite
from viewer.models import Checkpoint, Conversation, RegisteredStore, SearchEntry, User
from viewer.models.searching import stamp_of
from viewer.office import accounts
from viewer.search import indexing
from viewer.search.tokens import digits_of, endings_of
from viewer.upkeep import analyze as table_statistics
from viewer.web import access

MIDDLE = (100_000, 10_000)  # for benchmarks of growth
SIZES = {"small": (10_000, 1_000), "large": (1_000_000, 100_000)}
LIMIT = 1.5
FILM = ("video", "attachment", "video/mp4")
LEAFLET = ("document", "attachment", "application/pdf")
NOW = datetime.now(UTC).replace(microsecond=0)
YEARS = timedelta(days=3 * 365)
LINE = "PNbench"
OURS = "+16175550100"

# What contractors' customers say most; behind them come thirty thousand words that nobody knows.
MUCH_SAID = """
the to a is and i in it you crack we of on for wall basement water that can foundation have my this
be at will photo there are not was when quote from if with tomorrow your out me so leak sump corner
rain morning price do epoxy floor seal thanks window gutter footing estimate
"""
FIRST_NAMES = "Maria James Linda Robert Ana David Rosa Wei Fatima John Priya Luis Karen Ahmed"
PARTS = "ba co der fin gal hol ker lan mor ney per quin ras sen tor ville wick yan"
RARE = "quinsigamond"  # in five messages, however many there are
FREQUENT, FIRST, SYLLABLES = MUCH_SAID.split(), FIRST_NAMES.split(), PARTS.split()
FIRST += [f"{a}{b}" for a in ("Jo", "Ka", "Le", "Mi", "Ta", "Vi") for b in ("ana", "rik", "len")]


class Company:
    """Rows of a company that never was, conversation by conversation."""

    def __init__(self, messages: int, media: int) -> None:
        self.chance = random.Random(messages)
        self.messages, self.media = messages, media
        self.users: list[uuid.UUID] = []
        self.storage: uuid.UUID | None = None
        self.words = [*FREQUENT, *self._vocabulary()]
        # Zipf: the word of rank n is said 1/n as often as the first.
        self.weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.words))))
        self.taken: set[int] = set()

    def _vocabulary(self) -> list[str]:
        return [
            "".join(self.chance.choices(SYLLABLES, k=self.chance.randint(2, 5)))
            for _ in range(30_000)
        ]

    def id(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)

    def text(self, least: int, most: int) -> str:
        count = self.chance.randint(least, most)
        return " ".join(self.chance.choices(self.words, cum_weights=self.weights, k=count))

    def rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Table and values, in the order of COLUMNS."""
        written = 0
        # The rare word is said at five places, whatever the size.
        rare = {self.messages * part // 5 + 7 for part in range(5)}
        while written < self.messages:
            length = min(
                max(1, round(self.chance.lognormvariate(2.2, 1.3))), self.messages - written, 20_000
            )
            told = {place - written for place in rare if written <= place < written + length}
            yield from self._conversation(written, length, told)
            written += length

    def _conversation(
        self, count: int, length: int, rare: set[int]
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        numbers = [f"+1{chance.choice('2345678')}{chance.randrange(10**9):09}"]
        if chance.random() < 0.03:
            numbers = sorted(
                [*numbers, f"+1{chance.choice('2345678')}{chance.randrange(10**9):09}"]
            )
        people = []
        contacts = []
        for number in numbers:
            if chance.random() < 0.7:
                contact, first = self.id(), chance.choice(FIRST)
                last = "".join(chance.choices(SYLLABLES, k=2)).capitalize()
                company = f"{last} Homes" if chance.random() < 0.1 else None
                contacts.append(
                    ("contacts", (contact, f"CT{contact.hex}", first, last, company, False, [], {}))
                )
                contacts.append(("contact_numbers", (contact, number)))
                people.append(f"{first} {last} {company or ''}".lower())
            people += [number[1:], *endings_of(digits_of(number))]
        # However long, it lies within the three years: nothing is heaped up at their end.
        steps = [chance.lognormvariate(9.5, 1.8) for _ in range(length)]
        room, lasts = YEARS.total_seconds() - 600, sum(steps)
        if lasts > room:
            steps, lasts = [step * room / lasts for step in steps], room
        begun = moment = NOW - timedelta(seconds=lasts + (room - lasts) * chance.random() + 600)
        messages = []
        for index, step in enumerate(steps):
            moment += timedelta(seconds=step)
            messages.append(self._message(identity, numbers, moment, index in rare))
        messages.sort(key=lambda rows: rows[0][1][8])
        latest = messages[-1][0][1][8]
        yield "conversations", (identity, ",".join(numbers), LINE, begun, latest)
        yield from contacts
        for rows in messages:
            yield from rows
        day = 86_400_000_000
        entry = self._free(SearchEntry.PEOPLE + stamp_of(latest) // day * day + identity.int % day)
        yield "search_entries", (entry, None, identity, latest, " ".join(people))
        # One reads everything, one some of it, one nothing at all.
        incoming = [row for rows in messages for table, row in rows if table == "messages"]
        if chance.random() < max(0.005, min(0.3, 3_000 / self.messages)):
            yield "unread", (self.users[0], identity, incoming[-1][8])
        yield "unread", (self.users[1], identity, incoming[0][8])

    def _message(
        self, conversation: uuid.UUID, numbers: list[str], moment: datetime, rare: bool
    ) -> list[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        incoming = chance.random() < 0.6
        sender = chance.choice(numbers) if incoming else OURS
        is_call = chance.random() < 0.12
        body = voicemail = transcript = summary = None
        media: list[tuple[str, str, str]] = []
        if not is_call:
            body = self.text(2, 24) + (f" {RARE}" if rare else "")
            if incoming and chance.random() < 0.075:
                media = [("photo", "attachment", "image/jpeg")] * chance.choice((1, 1, 1, 2, 2, 4))
                if chance.random() < 0.06:
                    media = [chance.choice((FILM, LEAFLET))]
        elif incoming and chance.random() < 0.25:
            voicemail = self.text(8, 40) + (f" {RARE}" if rare else "")
            media = [("audio", "voicemail", "audio/mpeg")]
        else:
            body = RARE if rare else None
            if chance.random() < 0.15:
                media = [("audio", "recording", "audio/mpeg")]
                transcript = [
                    {"text": self.text(3, 15), "start": 4.0 * n, "end": 4.0 * n + 3,
                     "number": sender, "user": None if n % 2 else "USbench"}
                    for n in range(8)
                ]  # fmt: skip
                summary = [self.text(6, 14)]
        rows: list[tuple[str, tuple[Any, ...]]] = [
            (
                "messages",
                (
                    identity, conversation, f"ACbench-{identity.hex[:24]}",
                    "call" if is_call else "text", "incoming" if incoming else "outgoing", sender,
                    body, "delivered", moment, moment, voicemail is not None or None, voicemail,
                    transcript, summary, {},
                ),
            )
        ]  # fmt: skip
        # Made of folded words, it needs no folding.
        said = [part for part in (body, voicemail, *(summary or ())) if part]
        said += [line["text"] for line in transcript or ()]
        if said:
            stamp = stamp_of(moment) // 1000 * 1000 + identity.int % 1000
            rows.append(
                ("search_entries",
                 (self._free(stamp), identity, None, moment, " ".join(said)))
            )  # fmt: skip
        for position, (kind, role, mime) in enumerate(media):
            rows += self._media(conversation, identity, position, kind, role, mime, moment)
        return rows

    def _media(
        self,
        conversation: uuid.UUID,
        message: uuid.UUID,
        position: int,
        kind: str,
        role: str,
        mime: str,
        moment: datetime,
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        # So many that the inbox's page is full in the small company, too.
        is_recent = moment > NOW - timedelta(days=100)
        troubled = chance.random() < (0.01 if self.media > 10_000 else 0.08)
        unfiled = role == "attachment" and (chance.random() < (0.5 if is_recent else 0.02))
        linked = role == "attachment" and not unfiled and not troubled and chance.random() < 0.4
        stem = identity.hex
        yield (
            "media_attachments",
            (
                identity, conversation, message, position, role, f"{stem}.x", stem, None,
                None if troubled else 100_000, None if troubled else mime,
                None if troubled else f"{identity.hex}{identity.hex}",
                "https://media.example/x", f"{identity.hex}",
                "needs_attention" if troubled else "stored", 1, 1, kind,
                1600, 1200, 20.0 if kind == "audio" else None,
                "waiting" if troubled else "made", 0,
                None if troubled else f"{stem}.thumb.jpg", None if troubled else f"{stem}.p.jpg",
                [chance.randrange(100) for _ in range(60)] if kind == "audio" else None,
                unfiled, moment if linked else None, moment, moment, {},
                None if troubled else self.storage, *[None if troubled else moment] * 2,
            ),
        )  # fmt: skip
        if linked:
            record = self.id()
            yield (
                "work_records",
                (record, "quote", conversation, f"Q-{record.hex[:12]}", "A wall", "sent", 120_000,
                 "", moment, moment),
            )  # fmt: skip
            yield "media_links", (self.id(), identity, record, 0, moment)

    def _free(self, stamp: int) -> int:
        while stamp in self.taken:
            stamp += 1
        self.taken.add(stamp)
        return stamp


COLUMNS = {
    "conversations": "id participants line created_at latest_at",
    "contacts": "id provider_id first_name last_name company deleted known_numbers said",
    "contact_numbers": "contact_id number",
    "messages": "id conversation_id provider_id kind direction sender body status sent_at"
    " created_at has_voicemail voicemail_transcript transcript summary said",
    "media_attachments": "id conversation_id message_id position role file_path file_stem"
    " file_name file_size mime_type sha256 openphone_url source_key state attempts failures"
    " media_type width height duration_seconds copy_state copy_attempts thumbnail_path"
    " preview_path peaks is_unfiled linked_at sent_at created_at said storage downloaded_at"
    " verified_at",
    "work_records": "id kind conversation_id number title status amount notes"
    " created_at updated_at",
    "media_links": "id media_id record_id position created_at",
    "search_entries": "id message_id conversation_id at words",
    "unread": "user_id conversation_id since",
}
AT_ONCE = 20_000


# --- Filling a database --------------------------------------------------------------------


def fill(company: Company, url: str) -> None:
    """Write all rows, as quickly as the database takes them."""
    begun = time.monotonic()
    write = _into_postgres if url.startswith("postgresql") else _into_sqlite
    with write(url) as put:
        waiting: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
        for count, (table, row) in enumerate(company.rows()):
            waiting[table].append(row)
            if count % AT_ONCE == 0:
                for name, rows in waiting.items():
                    put(name, rows)
                    rows.clear()
        for name, rows in waiting.items():
            put(name, rows)
    print(f"  filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)


@contextmanager
def _into_sqlite(url: str) -> Iterator[Callable[[str, list[tuple[Any, ...]]], None]]:
    connection = sqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = OFF")  # nobody else is here, and nothing is lost
    connection.execute("PRAGMA cache_size = -1000000")
    connection.execute("PRAGMA temp_store = MEMORY")
    # Indexes and lists of words are made at the end, at one go: kept up row by row they take hours.
    made_later = connection.execute(
        "SELECT type, name, sql FROM sqlite_master"
        " WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    ).fetchall()
    for kind, name, _ in made_later:
        connection.execute(f"DROP {kind} {name}")
    connection.execute("BEGIN")

    def plain(value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return value.hex
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S.%f")
        return json.dumps(value) if isinstance(value, list | dict) else value

    def put(table: str, rows: list[tuple[Any, ...]]) -> None:
        names = COLUMNS[table].split()
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
            [[plain(value) for value in row] for row in rows],
        )

    yield put
    for words in ("search_words", "work_words"):
        connection.execute(f"INSERT INTO {words} ({words}) VALUES ('rebuild')")  # noqa: S608
    for _, _, statement in made_later:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


@contextmanager
def _into_postgres(url: str) -> Iterator[Callable[[str, list[tuple[Any, ...]]], None]]:
    with psycopg.connect(url) as connection:
        # Rows come conversation by conversation, each before what refers to it but for the batch.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '1GB'")
        made_later = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND NOT EXISTS"
            " (SELECT FROM pg_constraint WHERE conname = indexname)"
        ).fetchall()
        for name, _ in made_later:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))

        def plain(value: Any) -> Any:
            return json.dumps(value) if isinstance(value, list | dict) else value

        def put(table: str, rows: list[tuple[Any, ...]]) -> None:
            names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split()))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
            with connection.cursor().copy(query) as copy:
                for row in rows:
                    copy.write_row([plain(value) for value in row])

        yield put
        for _, statement in made_later:
            connection.execute(statement)


def make(name: str, folder: Path, url: str, counts: tuple[int, int] | None = None) -> Flask:
    """An application on a filled database; `counts` are its messages and files."""
    counts = counts or SIZES[name]
    app = create_app(
        {
            "DATA_DIR": folder,
            "DATABASE_URL": url,
            "REDIS_URL": "unix:///nowhere",
            "SECRET_KEY": "bench",
            "QUO_WEBHOOK_SECRETS": "whsec_YmVuY2gtb25seS1rZXktYmVuY2g=",
            "QUO_NUMBERS": OURS,
        }
    )
    with app.app_context():
        flask_migrate.upgrade()
        if db.session.scalar(sa.select(User.id).limit(1)) is None:
            print(f"{name}: {counts[0]:,} messages", file=sys.stderr)
            company = Company(*counts)
            for role in reversed(User.Role):
                user = accounts.add(f"{role}@bench.example", role, role.capitalize())
                user.created_at = NOW - 2 * YEARS
                company.users.append(user.id)
            store = RegisteredStore(created_at=NOW)
            db.session.add(store)
            db.session.flush()
            company.storage = store.id
            db.session.commit()
            db.session.remove()
            db.engine.dispose()
            fill(company, url)
            Checkpoint.write(indexing.MARK, indexing.VERSION)
            db.session.commit()
            _know_tables(url)
        db.session.remove()
    return app


def _know_tables(url: str) -> None:
    """What autovacuum does, or the scheduler."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    else:
        table_statistics.refresh()
        db.session.commit()
    db.engine.dispose()


# --- Asking --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: addresses that take turns."""

    name: str
    addresses: list[str]
    who: str = "owner"


def log_in(app: Flask, role: str) -> FlaskClient:
    """A browser in which the user of this role is logged in."""
    with app.app_context(), app.test_request_context():
        g.user = None
        access.start_session(
            db.session.scalars(sa.select(User).filter_by(role=User.Role(role))).one()
        )
        kept = dict(session)
        db.session.commit()
    browser = app.test_client()
    with browser.session_transaction() as fresh:
        fresh.update(kept)
    return browser


def pages(app: Flask, client: FlaskClient) -> list[Page]:
    """The pages of this company; the same for both, as far as their rows go."""
    with app.app_context():
        month = (400, 370) if _is_large() else (700, 400)
        found = [
            Page("inbox", ["/"]),
            *(
                Page(f"inbox, {word}", [f"/?show={word}"])
                for word in ("unread", "photos", "voicemail", "unfiled", "attention")
            ),
            Page("inbox, unread, never read", ["/?show=unread"], "office"),
            Page("inbox, photos and voicemail", ["/?show=photos&show=voicemail"]),
            Page("inbox, unfiled and photos", ["/?show=unfiled&show=photos"]),
            Page("inbox, unread and unfiled", ["/?show=unread&show=unfiled"], "office"),
            Page("inbox, unread, photos, dates", [_dated("/?show=unread&show=photos", 900, 10)]),
            Page("inbox, days", [_dated("/?", *month)]),
            Page("inbox, of the line", [f"/?line={LINE}"]),
            Page("inbox, of the line, with photos", [f"/?line={LINE}&show=photos"]),
            Page("inbox, 10th page", [_follow(client, "/", 9)]),
            Page("inbox, 3rd page with photos", [_follow(client, "/?show=photos", 2)]),
            Page("conversation, typical", _conversations(15)),
            Page("conversation, long", long := _conversations(250)),
            Page("conversation, long, older", [_follow(client, one, 2) for one in long]),
            Page("search, rare word", [f"/search?q={RARE}"]),
            Page("search, frequent words", ["/search?q=crack", "/search?q=basement"]),
            Page("search, less frequent words", _said(100)),
            Page("search, words of a page or two", _said(6_500 if _is_large() else 65)),
            Page("search, name", ["/search?q=maria", "/search?q=priya"]),
            Page("search, number", [f"/search?q={number}" for number in _numbers(long)]),
            Page("search, last four digits", [f"/search?q={n[-4:]}" for n in _numbers(long)]),
            Page("search, two words", ["/search?q=crack+basement", "/search?q=sump+quote"]),
            Page("search, phrase", ["/search?q=%22the+crack%22"]),
            Page("search, beginning", ["/search?q=cra", "/search?q=foundat", "/search?q=ba"]),
            Page("search, 3rd page", [_follow(client, "/search?q=crack", 2)]),
            Page("search, days", [_dated("/search?q=water", *month)]),
        ]
        if "media.gallery.everything" in {rule.endpoint for rule in app.url_map.iter_rules()}:
            found += [
                Page("gallery", ["/photos"]),
                *(
                    Page(f"gallery, {words}", [f"/photos?{words}"])
                    for words in (
                        "kind=photos", "kind=sounds", "filed=linked",
                        "filed=unfiled", "state=safe", "state=attention",
                        "kind=photos&filed=linked", "kind=photos&state=attention",
                    )
                ),
                Page("gallery, days", [_dated("/photos?kind=photos", *month)]),
                Page("gallery, 3rd page", [_follow(client, "/photos", 2)]),
                Page("gallery, of a number", [f"/photos?sender={n}" for n in _numbers(long)]),
                Page("gallery of a conversation", [f"{one}/photos" for one in long]),
            ]  # fmt: skip
        db.session.remove()
    return found


def _is_large() -> bool:
    return db.session.scalar(sa.text("SELECT count(*) FROM messages")) > SIZES["small"][0]


def _dated(address: str, first: int, last: int) -> str:
    """Between so many days ago and so many."""
    since, until = (f"{NOW - timedelta(days=days):%Y-%m-%d}" for days in (first, last))
    return f"{address}&since={since}&until={until}"


def _follow(client: FlaskClient, address: str, times: int) -> str:
    """The address behind “older”, so many times; the last that there is."""
    for _ in range(times):
        answer = client.get(address).text
        place = answer.rfind("before=")
        if place < 0:
            break
        start = answer.rfind('href="', 0, place) + 6
        address = answer[start : answer.index('"', place)].replace("&amp;", "&")
    return address


def _conversations(length: int) -> list[str]:
    """Some conversations of about this many messages."""
    rows = db.session.execute(
        sa.text(
            "SELECT conversation_id, count(*) FROM messages GROUP BY conversation_id"
            " ORDER BY abs(count(*) - :length), conversation_id LIMIT 4"
        ),
        {"length": length},
    )
    return [f"/conversations/{uuid.UUID(str(row[0]))}" for row in rows]


def _said(rank: int) -> list[str]:
    """Searches for words of about this rank: so many others are said more often."""
    words = Company(*SIZES["large" if _is_large() else "small"]).words
    return [f"/search?q={words[rank + more]}" for more in range(3)]


def _numbers(addresses: list[str]) -> list[str]:
    """Of the people of these conversations, without the country."""
    ids = [uuid.UUID(address.rpartition("/")[2]) for address in addresses]
    rows = db.session.scalars(sa.select(Conversation).where(Conversation.id.in_(ids)))
    return [row.numbers[0][2:] for row in rows]


def compare(apps: dict[str, Flask], rounds: int, only: str) -> bool:
    """Ask both in turn, and print; whether no page is slower than it may be."""
    clients = {
        name: {role: log_in(app, role) for role in ("owner", "office")}
        for name, app in apps.items()
    }
    asked = {name: pages(apps[name], clients[name]["owner"]) for name in apps}
    print(f"{'':40} {'small':>9} {'large':>9} {'ratio':>6} {'page':>13}")
    worst = 0.0
    for number, page in enumerate(asked["small"]):
        if only not in page.name:
            continue
        took: dict[str, list[float]] = {name: [] for name in apps}
        weight: dict[str, int] = {}  # alike in both, or one has more to show and not to look for
        for round_ in range(rounds + 3):
            for name in sorted(apps, reverse=round_ % 2 == 1):
                addresses = asked[name][number].addresses
                begun = time.perf_counter()
                answer = clients[name][page.who].get(addresses[round_ % len(addresses)])
                spent = time.perf_counter() - begun
                assert answer.status_code == 200, (page, answer.status_code, answer.text[:300])
                weight[name] = len(answer.data)
                if round_ >= 3:
                    took[name].append(spent * 1000)
        small, large = (statistics.median(took[name]) for name in ("small", "large"))
        worst = max(worst, large / small)
        mark = "" if large <= LIMIT * small else "  <- too slow"
        kilobytes = f"{weight['small'] // 1000:3}, {weight['large'] // 1000:3} kB"
        print(
            f"{page.name:40} {small:6.1f} ms {large:6.1f} ms {large / small:6.2f} "
            f"{kilobytes:>13}{mark}"
        )
    print(f"worst ratio {worst:.2f}, at most {LIMIT} is promised")
    return worst <= LIMIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/inbox"))  # noqa: S108
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", default="", help="pages whose name contains this")
    parser.add_argument("--keep", action="store_true", help="leave SQLite's files for next time")
    chosen = parser.parse_args()
    good = True
    for kind in [chosen.database] if chosen.database else ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            server = stack.enter_context(servers.running_postgres()) if kind != "sqlite" else None
            apps = {}
            for name in SIZES:
                folder = chosen.folder / name
                folder.mkdir(parents=True, exist_ok=True)
                url = server.url(server.create()) if server else f"sqlite:///{folder}/viewer.db"
                apps[name] = make(name, folder, url)
            print(f"\n{kind}")
            good &= compare(apps, chosen.rounds, chosen.only)
            for app in apps.values():
                with app.app_context():
                    db.engine.dispose()
    if not chosen.keep:
        shutil.rmtree(chosen.folder, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
