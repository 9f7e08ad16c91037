"""The house's own order: who imports whom, in tests and viewer, and who reads the environment."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, and every name that it takes from one."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_what_tests_share_is_in_their_support_and_no_test_imports_another():
    found, seen = [], 0
    for folder in ("tests", "benchmarks", "docs", "viewer"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in imported(file):
                seen += name.startswith("tests.support.")
                if name.startswith("tests.") and ".test_" in name:
                    found.append(f"{file.relative_to(ROOT)}: {name}")

    assert seen > 100
    assert found == []


def test_one_module_reads_the_environment_and_few_hand_it_on():
    found = {
        file.relative_to(ROOT / "viewer").as_posix()
        for file in (ROOT / "viewer").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        # A plain `environ` is a request's; an alias is `from os import environ`.
        if isinstance(node, ast.Attribute | ast.alias)
        and ast.unparse(node) in ("os.environ", "os.getenv", "environ", "getenv")
    }

    assert found <= {
        "config.py",
        "failpoint.py",  # its variable is for tests, and a setting in no other sense
        "supervise.py",  # the parts of a host have its environment
        "upkeep/drill/scratch.py",  # hands it on without any setting of ours
        "commands/demo.py",  # sets that of the demo
    }
    assert "config.py" in found


def test_no_page_takes_a_lock_or_keeps_the_search():
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / "viewer/web").rglob("*.py")
        for name in imported(file)
        if name in ("viewer.extensions.lock", "viewer.extensions.Lock")
    ]
    kept = [
        file.name
        for file in (ROOT / "viewer/web").rglob("*.py")
        if "indexing.index_" in file.read_text()
    ]

    assert (found, kept) == ([], [])


@pytest.mark.parametrize(
    ("new", "said"),
    [
        pytest.param({}, ["kept, 0 broken."], id="as it is"),
        pytest.param(
            {"cellar.py": "", "attic/__init__.py": "", "web/porch/__init__.py": ""},
            ["- viewer.cellar", "- viewer.attic", "- viewer.web.porch"],
            id="rooms that no contract names",
        ),
        pytest.param(
            {
                "office/copies.py": "import rq, PIL",
                "office/sooner.py": "from viewer import jobs",
                "web/work/peek.py": "from viewer.web.sharing import public",
                "upkeep/rehearsal.py": "from viewer.demo import company",
                "search/one.py": "from viewer.search import other",
                "search/other.py": "from viewer.search import one",
            },
            [
                "viewer.office.copies -> rq",
                "viewer.office.copies -> PIL",
                "viewer.office.sooner -> viewer.jobs",
                "viewer.web.work.peek -> viewer.web.sharing.public",
                "viewer.upkeep.rehearsal -> viewer.demo.company",
                "No cycles are allowed in viewer.search.",
            ],
            id="imports that break one",
        ),
    ],
)
def test_every_room_has_its_place_and_no_import_leads_upwards(new, said, tmp_path):
    for file in (ROOT / "viewer").rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    for name, content in new.items():
        (tmp_path / "viewer" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "viewer" / name).write_text(f"{content}\n")

    checked = subprocess.run(
        [LINTER, "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert [words for words in said if words not in checked.stdout] == [], checked.stdout
    assert (checked.returncode == 0) == (not new)


# Columns by which people and jobs decide who may do what next.
STATES = {
    "state", "copy_state", "trouble", "status", "role", "attempts", "copy_attempts", "failures",
    "accepted_at", "archived_at", "closed_at", "closed_as", "disabled_at", "lease_until",
    "next_attempt_at", "copy_due_at", "purged_at", "quarantined_at", "retired_at", "revoked_at",
    "trashed_at", "not_needed_at", "is_unfiled", "password_hash", "used_at", "holder", "until",
}  # fmt: skip
# What sets one of them on a loaded row, and why nobody comes between the look and the change.
HELD = {
    "intake/addresses.py freshen": "the row, FOR UPDATE",
    "intake/addresses.py take_address": "the row, FOR UPDATE, by its callers",
    "intake/ingest.py _merge": "its message, by INGEST",
    "intake/ingest.py _read_event": "the event, FOR UPDATE",
    "intake/ingest.py note_failure": "the event, FOR UPDATE",
    "intake/message_files.py _take_media": "its rows, FOR UPDATE",
    "intake/message_files.py take": "its rows, FOR UPDATE",
    "models/events.py mark_processed": "the event, FOR UPDATE, by ingest",
    "models/events.py mark_unparsed": "the event, FOR UPDATE, by ingest",
    "models/media.py reopen": "the row, FOR UPDATE, by its callers",
    "models/scheduled_tasks.py fail": "SCHEDULED_TASK",
    "models/scheduled_tasks.py finish": "SCHEDULED_TASK",
    "models/scheduled_tasks.py renew": "SCHEDULED_TASK",
    "models/scheduled_tasks.py take_lease": "SCHEDULED_TASK",
    "office/accounts.py change": "the user, FOR UPDATE",
    "office/accounts.py disable": "OWNERS, and the user, FOR UPDATE",
    "office/accounts.py enable": "the user, FOR UPDATE",
    "office/accounts.py set_password": "the user, FOR UPDATE, or whoever is last wins",
    "office/filing.py _settle_unfiled": "the rows, FOR UPDATE, by its callers",
    "office/filing.py mark_needed": "the rows, FOR UPDATE",
    "office/filing.py mark_not_needed": "the rows, FOR UPDATE",
    "office/forgetting/clearing.py _finish": "the row, FOR UPDATE",
    "office/forgetting/rows.py _begin": "the row, FOR UPDATE",
    "office/forgetting/rows.py _finish": "the row, FOR UPDATE, by its caller",
    "office/forgetting/tombstones.py apply_tombstone": "the row, FOR UPDATE",
    "office/records.py archive": "the record, FOR UPDATE, by the view",
    "office/records.py send_quote": "the record, FOR UPDATE, by the view",
    "office/records.py take_step": "the record, FOR UPDATE, by the view",
    "office/records.py unarchive": "the record, FOR UPDATE, by the view",
    "office/sharing.py count_use": "SHARE_REQUESTS",
    "office/throttle.py count_attempt": "THROTTLE",
    "office/throttle.py forget_failures": "THROTTLE",
    "office/trash.py _give_up": "the row, FOR UPDATE",
    "office/trash.py finish_purges": "a purged row changes no more, and this is idempotent",
    "upkeep/lost_stores.py give_up": "there is no way back from it, and this is idempotent",
}


def changed_states(file: Path) -> Iterator[str]:
    """The functions of this file that set such a column on an object other than their own."""
    is_model = "models" in file.parts
    for function in ast.walk(ast.parse(file.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
                if node.attr in STATES and (is_model or not is_own):
                    yield function.name


def test_no_state_is_changed_by_an_older_look():
    """Use `MediaAttachment.change_if`, or lock the row before you read it, and say so in HELD."""
    rooms = (
        "commands",
        "holdings",
        "intake",
        "jobs",
        "models",
        "office",
        "search",
        "upkeep",
        "web",
    )
    found = {
        f"{file.relative_to(ROOT / 'viewer').as_posix()} {name}"
        for room in rooms
        for file in (ROOT / "viewer" / room).rglob("*.py")
        for name in changed_states(file)
    }

    assert found == set(HELD)
