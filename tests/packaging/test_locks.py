"""The locks are complete: any pip installs them and resolves nothing, today and next year."""

import json
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import sbom

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
BUILD = PROJECT["dependency-groups"]["build"]

WANTED = {
    "requirements.txt": [*RUNTIME, *EXTRAS["postgres"], *EXTRAS["s3"]],
    "requirements-build.txt": BUILD,
    "requirements-dev.txt": [*RUNTIME, *EXTRAS["postgres"], *EXTRAS["s3"], *EXTRAS["dev"], *BUILD],
}


def locked(text: str) -> dict[str, Requirement]:
    """What this Python on this machine takes from a lock, by name."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", " ")):
            one = Requirement(line.removesuffix("\\").strip())
            if one.marker is None or one.marker.evaluate():
                found[canonicalize_name(one.name)] = one
    return found


def needed(wanted: list[str]) -> Iterator[Requirement]:
    """Every requirement that is active here, from what we name down to the last leaf."""
    waiting, seen = [Requirement(one) for one in wanted], set()
    while waiting:
        one = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        yield one
        for extra in ("", *sorted(one.extras)):
            if (canonicalize_name(one.name), extra) in seen:
                continue
            seen.add((canonicalize_name(one.name), extra))
            try:
                below = distribution(one.name).requires or []
            except PackageNotFoundError:
                continue  # its own absence is what the caller finds
            for line in below:
                edge = Requirement(line)
                if edge.marker is None or edge.marker.evaluate({"extra": extra}):
                    edge.marker = None
                    waiting.append(edge)


def lacking(text: str, wanted: list[str]) -> list[str]:
    """What a resolver would still have to fetch, or to choose."""
    have, problems = locked(text), []
    for one in needed(wanted):
        found = have.get(canonicalize_name(one.name))
        if found is None:
            problems.append(f"{one} is not locked")
        elif not one.extras <= found.extras:
            problems.append(f"{one} asks for extras, and the lock has {found}")
        elif not one.specifier.contains(str(found.specifier).removeprefix("=="), prereleases=True):
            problems.append(f"{one} does not admit {found}")
    return sorted(set(problems))


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_lacks_nothing(name):
    assert lacking((ROOT / name).read_text(), WANTED[name]) == []


@pytest.mark.parametrize(
    ("name", "was", "becomes", "said"),
    [
        ("requirements-dev.txt", "coverage[toml]==", "coverage==", "asks for extras"),
        ("requirements-dev.txt", "cachecontrol[filecache]==", "cachecontrol==", "asks for extras"),
        ("requirements-dev.txt", "\nfilelock==", "\nanother==", "is not locked"),
        ("requirements.txt", "psycopg[binary]==", "psycopg==", "asks for extras"),
        ("requirements.txt", "\nwerkzeug==", "\nwerkzeug==0.", "does not admit"),
        ("requirements-build.txt", "\npathspec==", "\nanother==", "is not locked"),
    ],
)
def test_what_a_lock_lacks_is_found(name, was, becomes, said):
    text = (ROOT / name).read_text()
    assert was in text

    assert any(said in problem for problem in lacking(text.replace(was, becomes), WANTED[name]))


@pytest.mark.parametrize("name", WANTED)
def test_each_locked_package_has_hashes_and_no_address(name):
    text = (ROOT / name).read_text()

    assert "make lock" in text.partition("\n\n")[0]
    assert "://" not in text
    for package in text.replace("\\\n", " ").splitlines():
        if package and not package.startswith(("#", " ")):
            assert "--hash=sha256:" in package


def test_the_page_of_licences_names_every_package_that_runs():
    page = (ROOT / "docs" / "licenses.md").read_text()
    packages = locked((ROOT / "requirements.txt").read_text())

    missing = {
        name
        for name, one in packages.items()
        if f"| {name} | {str(one.specifier).removeprefix('==')} | " not in page
    }

    assert len(packages) > 40
    assert missing == set()


def test_the_bill_of_materials_says_what_the_lock_and_the_page_of_licences_say():
    """`make lock` writes it; what it does not know of is no part of the lock."""
    written = (ROOT / "sbom.cdx.json").read_text()
    bom = json.loads(written)
    licensed = {package["name"] for package in bom["components"] if "licenses" in package}
    asked = {one["ref"]: set(one.get("dependsOn", ())) for one in bom["dependencies"]}
    own = {canonicalize_name(Requirement(one).name) for one in WANTED["requirements.txt"]}

    assert written == sbom.render()
    assert licensed >= set(locked((ROOT / "requirements.txt").read_text()))
    assert asked[PROJECT["project"]["name"]] == own
    assert "werkzeug" in asked["flask"]
