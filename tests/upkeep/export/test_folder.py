"""The folder of an export: one manifest, named by its bytes, and links that are right."""

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.support import factories
from tests.support.stored_files import keep, other_store, path_of
from tests.upkeep.export.conftest import lines_of
from viewer.extensions import db
from viewer.models import AuditEntry, MediaAttachment
from viewer.upkeep import export
from viewer.upkeep.export.folder import MARKER, Folder

State = MediaAttachment.State


def contents(place: Path) -> dict[str, tuple[int, int]]:
    """Which file is where, and since when."""
    return {
        str(path.relative_to(place)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in place.rglob("*")
        if not path.is_dir()
    }


def links(place: Path) -> set[str]:
    return {path.stem for path in (place / "originals").rglob("*.*")}


def test_the_manifest_is_named_by_its_own_checksum(run, place):
    keep()
    run()

    name = str((place / "manifest.jsonl").readlink())
    sha256 = hashlib.sha256((place / name).read_bytes()).hexdigest()

    assert name == f"manifest-{sha256}.jsonl"
    assert {path.name for path in place.iterdir()} == {
        MARKER, "schema.json", name, "manifest.jsonl",
    }  # fmt: skip
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize("with_links", [False, True])
def test_the_same_rows_change_nothing(run, place, with_links):
    for _ in range(3):
        keep()
    run(links=with_links)
    before = contents(place)

    run(links=with_links)

    assert contents(place) == before


def test_a_link_is_the_original_itself_and_stays_read_only(run, place):
    media = keep(b"a crack")

    [line] = run(links=True)

    link = place / line["address"]
    assert line["address"] == f"originals/{str(media.id)[:2]}/{media.id}.{link.suffix[1:]}"
    assert link.read_bytes() == b"a crack"
    assert stat.S_IMODE(link.stat().st_mode) == 0o444
    assert link.samefile(path_of(media))


def test_what_is_no_more_goes_from_manifest_and_folder(run, place):
    stays, goes = keep(), keep()
    run(links=True)
    first = str((place / "manifest.jsonl").readlink())
    goes.state = State.TRASHED
    theirs = place / "originals" / str(goes.id)[:2] / "labels.csv"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("of a person")

    [line] = run(links=True)

    assert line["id"] == str(stays.id)
    assert links(place) == {str(stays.id), "labels"}
    assert not (place / first).exists()
    theirs.unlink()
    run()
    assert not (place / "originals").exists()
    assert path_of(stays).exists()


def test_a_repaired_original_is_linked_anew(run, place):
    media = keep(b"a crack")
    [line] = run(links=True)
    path = path_of(media)
    path.unlink()
    path.write_bytes(b"a crack")

    run(links=True)

    assert (place / line["address"]).samefile(path)
    assert len(links(place)) == 1


@pytest.mark.parametrize("noted", [False, True])
def test_the_last_name_of_a_file_that_the_store_lost_stays(app, place, noted):
    media = keep(b"a crack")
    export.run(place, links=True)
    [line] = lines_of(place)
    path_of(media).unlink()
    if noted:
        media.state = State.DAMAGED
    db.session.commit()

    result = export.run(place, links=True)

    assert (lines_of(place), result.last_links) == ([], [line["address"]])
    assert (place / line["address"]).read_bytes() == b"a crack"


def test_right_bytes_are_not_exchanged_for_wrong_ones_of_their_size(app, place):
    media = keep(b"a crack")
    export.run(place, links=True)
    [line] = lines_of(place)
    path = path_of(media)
    path.unlink()
    path.write_bytes(b"a krack")

    result = export.run(place, links=True)

    assert (result.not_there, result.last_links) == ([media.file_path], [line["address"]])
    assert (place / line["address"]).read_bytes() == b"a crack"


def test_what_went_to_a_bucket_leaves_no_link(app, place, tmp_path):
    store = other_store(tmp_path / "bucket")
    media = keep(b"a crack")
    export.run(place, links=True)
    path_of(media).unlink()
    media.storage = store.id
    db.session.commit()

    assert export.run(place, links=False).last_links == []
    assert not (place / "originals").exists()


@pytest.mark.parametrize("step", ["publish", "_point_to", "remove_others"])
def test_one_that_was_killed_is_completed_by_the_next(step, run, place, monkeypatch):
    class Killed(BaseException):
        """As a signal ends it."""

    def die(*_words: object) -> None:
        raise Killed

    gone = keep()
    first = run(links=True)
    gone.state = State.TRASHED
    media = keep()
    with monkeypatch.context() as broken:
        broken.setattr(Folder, step, die)
        broken.setattr(Folder, "discard_part", lambda _self: None)  # nobody clears up after a kill
        with pytest.raises(Killed):
            run(links=True)
    (place / ".manifest.jsonl.new").write_text("torn")
    seen = lines_of(place)

    after = run(links=True)

    # Whoever reads it meanwhile finds one export whole.
    assert seen == (after if step == "remove_others" else first)
    assert [line["id"] for line in after] == [str(media.id)]
    assert links(place) == {str(media.id)}
    assert len(list(place.glob("manifest-*"))) == 1
    assert not list(place.glob("*.new")) + list(place.glob(".*.part"))


def test_where_there_are_no_symbolic_links_it_is_there_twice(run, place, monkeypatch):
    def refuse(*_words: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    media = keep()

    [line] = run()

    assert line["id"] == str(media.id)
    assert not (place / "manifest.jsonl").is_symlink()
    before = contents(place)
    run()
    assert contents(place) == before


def test_what_is_not_in_the_store_as_its_row_says_is_left_out(app, place):
    right, missing, cut = keep(), keep(), keep()
    path_of(missing).unlink()
    path_of(cut).write_bytes(b"x")
    db.session.commit()

    result = export.run(place, links=True)

    assert sorted(result.not_there) == sorted((missing.file_path, cut.file_path))
    assert [line["id"] for line in lines_of(place)] == [str(right.id)]
    assert "1 original in" in str(result)
    assert "left out: 2 not in the store as their rows say" in str(result)


def test_the_audit_log_says_what_went_where(run, place):
    keep()
    run(links=True)

    entry = db.session.query(AuditEntry).filter_by(action="export").one()
    name = str((place / "manifest.jsonl").readlink())
    assert entry.words.startswith(f"1 original to {place}, with links; manifest ")
    assert name.removeprefix("manifest-")[:16] in entry.words


# --- Refused -------------------------------------------------------------------------------


def refusal(place: Path, *, links: bool = False) -> str:
    with pytest.raises(export.CannotExport) as refused:
        export.run(place, links=links)
    return str(refused.value)


@pytest.mark.parametrize(("name", "setting"), [("data", "DATA_DIR"), ("photos", "MEDIA_ROOT")])
def test_it_goes_nowhere_into_the_viewers_own_folders(app, tmp_path, name, setting):
    (tmp_path / "way").symlink_to(tmp_path / name)

    for place in (tmp_path / name, tmp_path / name / "export", tmp_path / "way" / "export"):
        assert f"is in {setting}" in refusal(place)
    assert not (tmp_path / name / "export").exists()


def test_it_takes_no_folder_of_others(app, place):
    place.mkdir()
    (place / "thesis.tex").write_text("mine")

    assert "holds something else" in refusal(place)
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]

    (place / MARKER).write_text("another")
    assert "another viewer" in refusal(place)


def test_a_file_is_no_folder(app, place):
    place.write_text("mine")

    assert refusal(place) == f"{place}: File exists."


def test_only_one_at_a_time(run, place):
    run()
    with (place / MARKER).open() as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        assert "is running" in refusal(place)


def test_another_file_system_is_said_with_the_way_out(app, place, monkeypatch):
    def refuse(*_words: object, **_more: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    keep()
    monkeypatch.setattr(os, "link", refuse)

    assert "another file system" in refusal(place, links=True)
    assert not (place / "manifest.jsonl").exists()


def test_what_is_in_a_bucket_cannot_be_linked(app, place, tmp_path):
    store = other_store(tmp_path / "bucket")
    keep()
    factories.photos(factories.customer())[0].storage = store.id
    db.session.commit()

    assert f"1 original in folder:{tmp_path / 'bucket'}" in refusal(place, links=True)


def test_a_store_that_is_away_ends_it(app, place, tmp_path):
    keep()
    (tmp_path / "photos").rename(tmp_path / "unmounted")

    assert "is it mounted?" in refusal(place, links=True)
    assert not list(place.glob("manifest*"))
