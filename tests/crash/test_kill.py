"""kill -9 between any two steps: nothing answered is lost, nothing half is shown.

What a test is about is a place (`viewer/failpoint.py`); the number is the row of docs/faults.md.
"""

import contextlib
import hashlib
import random
import threading
import uuid

import pytest
import redis
from urllib3.exceptions import ProtocolError

from tests.crash import checks
from tests.crash.conftest import KILLED, photo
from tests.crash.failpoints import PLACEMENT
from tests.support import staff
from tests.support.crowds import run_all
from tests.support.hostile_server import HostileServer
from viewer.storage.workspace import INCOMING

# --- the webhook -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "is_kept"),
    [
        pytest.param("webhook.verified", False, id="2-verified"),
        pytest.param("webhook.inserted", False, id="3-inserted"),
        pytest.param("webhook.committed", True, id="4-6-committed"),
    ],
)
def test_a_delivery_whose_answer_was_not_read_comes_again_and_is_kept_once(
    place, is_kept, scene, message
):
    text = message(media=scene.photos())
    dying, living = scene.start("serve", failpoints=f"{place}=kill"), scene.start("serve")

    lost = scene.post(dying.heard(), text)
    kept_then = checks.rows(scene.database_url, "SELECT delivery_id FROM webhook_events")
    again = scene.post(living.heard(), text)
    living.kill()
    recovered = scene.recover()

    assert (dying.ended(), lost, len(kept_then)) == (KILLED, None, int(is_kept))
    assert (again, recovered) == (204, 0)
    assert len(checks.rows(scene.database_url, "SELECT id FROM webhook_events")) == 1
    assert scene.unsettled() == []


def test_6_an_answered_delivery_that_nobody_was_reminded_of_comes_home(scene, message):
    scene.receive(message(media=scene.photos()))  # there is no Redis at all

    assert scene.recover() == 0
    assert scene.unsettled() == []


def test_every_delivery_that_was_answered_is_kept_when_the_server_dies_under_load(scene, message):
    """I1, with several threads at the commit when the process is killed."""
    server = scene.start("serve", failpoints="webhook.committed@12=kill")
    port = server.heard()
    texts = [message() for _ in range(24)]
    senders = [
        threading.Thread(
            target=lambda part: [scene.post(port, text) for text in part], args=(part,)
        )
        for part in (texts[0::4], texts[1::4], texts[2::4], texts[3::4])
    ]
    run_all(senders)

    assert server.ended() == KILLED
    assert 1 <= len(scene.known.answered) < len(texts)
    assert scene.violations() == []


def test_7_killed_between_the_mark_and_its_reminder_all_three_photos_come(
    scene, message, valkey_url
):
    with redis.from_url(valkey_url) as queue:
        queue.flushall()
        scene.settings["REDIS_URL"] = valkey_url
        dying = scene.start("serve", failpoints="test.enqueue=kill")
        answer = scene.post(dying.heard(), message(media=scene.photos(3)))
        marked, waiting = queue.exists("viewer:reminded:intake"), queue.llen("rq:queue:intake")

    recovered = scene.recover()

    assert (dying.ended(), answer) == (KILLED, None)
    assert (marked, waiting) == (1, 0)
    assert recovered == 0
    assert [row["state"] for row in scene.rows()] == ["stored"] * 3
    assert scene.unsettled() == []


def test_killed_before_the_ingest_commits_the_event_is_read_again(scene, message):
    scene.receive(message(media=scene.photos(2)))

    code = scene.run("ingest", failpoints="ingest.read=kill")

    assert (code, scene.rows()) == (KILLED, [])
    assert scene.recover() == 0
    assert scene.unsettled() == []


# --- the way home of a file --------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACEMENT)
def test_a_download_that_is_killed_is_taken_up_again(place, scene, message):
    """Rows 11 to 21 of the crash points; the first of two photos dies, the second must not."""
    scene.announced(message(media=scene.photos(2)))

    code = scene.run("collect", failpoints=f"{place}=kill")
    broken = scene.violations()
    recovered = scene.recover()

    assert (code, recovered) == (KILLED, 0)
    assert broken == []
    assert scene.unsettled() == []


def test_a_file_whose_type_was_announced_wrongly_is_found_again_under_its_new_name(scene, message):
    """Row 16 for a name that changed on the way: the row must know it before the disk does."""
    [url] = scene.photos()
    scene.announced(message(media=[{"url": url, "type": "image/png"}]))

    code = scene.run("collect", failpoints="storage.placed=kill")
    scene.provider.withdraw(url)
    recovered = scene.recover()

    assert (code, recovered) == (KILLED, 0)
    assert scene.unsettled() == []


@pytest.mark.parametrize("place", ["storage.linked", "storage.placed", "collect.placed"])
def test_16_a_file_that_was_placed_is_adopted_although_its_address_is_dead(place, scene, message):
    [url] = scene.photos()
    scene.announced(message(media=[url]))

    code = scene.run("collect", failpoints=f"{place}=kill")
    scene.provider.withdraw(url)
    asked = scene.provider.gets(url)
    recovered = scene.recover()

    assert (code, recovered) == (KILLED, 0)
    assert scene.provider.gets(url) == asked
    assert scene.unsettled() == []


def test_12_killed_in_the_middle_of_the_body_nothing_half_gets_a_name(scene, message, stack):
    server = stack.enter_context(HostileServer())
    half_is_out = scene.announced_half(server, message)

    run = scene.start("collect")
    assert half_is_out.wait(60)
    parts = list((scene.media_root / INCOMING).glob("*.part"))
    run.kill()
    broken = scene.violations()

    assert (len(parts), broken, checks.originals(scene.media_root)) == (1, [], [])
    assert scene.recover() == 0
    assert scene.unsettled() == []


RECOVERY = [
    *(
        pytest.param("storage.sealed", place, id=f"sealed-then-{place}")
        for place in (
            "collect.claimed", "test.written", "storage.sealed", "collect.sealed",
            "collect.intended", "storage.folders", "storage.linked", "storage.placed",
            "collect.placed", "collect.stored",
        )
    ),
    pytest.param("storage.mkdir@2", "storage.mkdir@1", id="mkdir-then-mkdir"),
    *(
        pytest.param("storage.linked", place, id=f"linked-then-{place}")
        for place in ("collect.claimed", "collect.placed", "collect.stored")
    ),
    pytest.param("storage.placed", "collect.placed", id="placed-then-placed"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "then"), RECOVERY)
def test_22_a_recovery_that_is_killed_is_itself_recovered(first, then, scene, message):
    scene.announced(message(media=scene.photos()))

    codes = [
        scene.run("collect", failpoints=f"{first}=kill"),
        scene.run("collect", failpoints=f"{then}=kill", later=(40.0,)),
    ]
    broken = scene.violations()
    recovered = scene.run("everything", later=(80.0, 160.0, 7400.0))

    assert (codes, recovered) == ([KILLED, KILLED], 0)
    assert broken == []
    assert scene.unsettled() == []


def test_25_thirty_photos_in_random_states_are_all_there_after_everything_was_killed(
    scene, message
):
    chance = random.Random(25)
    places = [
        "collect.claimed", "test.written", "storage.sealed", "storage.linked", "storage.placed",
        "collect.placed", "collect.stored",
    ]  # fmt: skip
    urls = scene.photos(30)
    for start in range(0, 30, 5):
        scene.receive(
            message(media=urls[start : start + 3]), message(media=urls[start + 3 : start + 5])
        )

    codes = [scene.run("ingest", failpoints="ingest.read@9=kill")]
    for turn in range(5):
        # Two at a time get in each other's way, and die at different steps of different photos.
        pair = [
            scene.start(
                "everything",
                later=(turn * 40.0 + 10,),
                failpoints=f"{chance.choice(places)}@{chance.randint(1, 3)}=kill",
            )
            for _ in range(2)
        ]
        codes += [run.ended() for run in pair]
        assert scene.violations() == []
    states = {row["state"] for row in scene.rows()}
    recovered = scene.run("everything", later=(300.0, 400.0, 7700.0))

    assert codes == [KILLED] * 11
    assert states == {"pending", "downloading", "stored"}
    assert recovered == 0
    assert scene.unsettled() == []


# --- copies ------------------------------------------------------------------------------------

WARM_TOO = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])


@pytest.mark.parametrize(
    "place",
    ["copies.derived", "storage.linked@1", "storage.placed@1", "storage.placed@2", "copies.placed"],
)
def test_26_copies_whose_making_was_killed_are_made_again(place, scene, message):
    scene.announced(message(media=scene.photos()))
    assert scene.run("collect") == 0

    code = scene.run("copies", failpoints=f"{place}=kill")
    broken, [row] = scene.violations(), scene.rows()
    recovered = scene.recover(copies=True)

    assert (code, recovered) == (KILLED, 0)
    assert (broken, row["state"], row["copy_state"]) == ([], "stored", "due")
    assert [(row["copy_state"], row["copy_attempts"]) for row in scene.rows()] == [("made", 2)]
    assert scene.unsettled() == []


@WARM_TOO
def test_26_killed_while_the_decoder_decodes_the_photo_stays_and_its_copies_come(
    scene, message, warm
):
    scene.announced(message(media=scene.photos()))
    assert scene.run("collect") == 0

    code = scene.run("copies", warm=warm, sabotage=("decoder-kills-parent",))

    assert (code, scene.violations()) == (KILLED, [])
    assert scene.recover(copies=True) == 0
    assert [row["copy_state"] for row in scene.rows()] == ["made"]
    assert scene.unsettled() == []


@WARM_TOO
def test_27_a_picture_that_crashes_its_decoder_is_given_up_and_holds_up_no_other(
    scene, message, warm
):
    [good] = scene.photos()
    evil = scene.provider.serve(PNG, content_type="image/png")
    scene.known.served[evil] = PNG
    scene.announced(message(media=[{"url": evil, "type": "image/png"}, good]))

    recovered = scene.run(
        "everything",
        copies=True,
        warm=warm,
        sabotage=("decoder-aborts",),
        later=(10.0, 20.0, 30.0, 40.0, 200.0),
    )

    assert recovered == 0
    crashed, fine = scene.rows()
    assert (crashed["state"], crashed["copy_state"]) == ("stored", "impossible")
    assert (crashed["copy_attempts"], crashed["thumbnail_path"]) == (3, None)
    assert "crashed (SIGABRT)" in crashed["copy_problem"]
    assert (fine["state"], fine["copy_state"]) == ("stored", "made")
    assert scene.unsettled() == []


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


# --- serving ------------------------------------------------------------------------------------


def test_28_a_download_that_broke_off_goes_on_with_the_same_bytes(scene, message):
    """A browser that lost its server in the middle asks the next one for the rest."""
    content = photo() + random.Random(28).randbytes(20_000_000)  # more than sockets hold
    url = scene.provider.serve(content, content_type="image/jpeg")
    scene.known.served[url] = content
    scene.announced(message(media=[url]))
    assert scene.run("collect") == 0
    path = f"/media/{uuid.UUID(scene.rows()[0]['id'])}"
    dying = scene.start("serve")
    site = f"http://127.0.0.1:{dying.heard()}"
    living = scene.start("serve")
    browser = staff.enter(site)

    with browser.get(f"{site}{path}", stream=True, timeout=60) as begun:
        tag, had = begun.headers["ETag"], begun.raw.read(100_000)
        dying.kill()
        had += _until_it_breaks(begun)
    rest = browser.get(
        f"http://127.0.0.1:{living.heard()}{path}",
        headers={"Range": f"bytes={len(had)}-", "If-Range": tag},
        timeout=60,
    )
    living.kill()

    assert 0 < len(had) < len(content)
    assert rest.status_code == 206
    assert had + rest.content == content


def _until_it_breaks(answer):
    had = b""
    with contextlib.suppress(ProtocolError):
        while more := answer.raw.read(100_000):
            had += more
    return had


# --- negative control --------------------------------------------------------------------------


def test_the_suite_sees_a_row_that_says_stored_before_its_file_has_a_name(scene, message):
    scene.announced(message(media=scene.photos()))

    code = scene.run("collect", failpoints="storage.folders=kill", sabotage=("row-before-link",))

    assert code == KILLED
    assert [words[:2] for words in scene.violations()] == ["I3"]


def test_the_suite_sees_other_bytes_and_a_lost_event(scene, message):
    """The checker itself: each promise, broken by hand, is reported."""
    scene.announced(message(media=scene.photos()))
    assert scene.recover() == 0
    [path] = checks.originals(scene.media_root)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == scene.rows()[0]["sha256"]

    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    scene.known.answered["msg_never"] = "{}"

    assert [words[:2] for words in scene.violations()] == ["I1", "I3", "I4"]
