"""Do in a plain shell what a Dockerfile says, where no container can be built.

Each stage is a folder, and every absolute path of ours in the file means a place in it. Of the base
images only Python is there. So it shows that the steps work in their order and with what they copy,
not that the image's system has all they need.
"""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

OURS = re.compile(r"(?<![\w.\-/])/(?=(?:opt|data)\b)")  # what the file calls the image's own


@dataclass
class Stage:
    """What a FROM began, as far as it has come."""

    root: Path
    environment: dict[str, str]
    folder: Path  # WORKDIR
    user: str = "0"
    said: dict[str, str] = field(default_factory=dict)  # CMD, HEALTHCHECK, STOPSIGNAL, ...

    def here(self, words: str) -> str:
        """With every path of ours where it is in this stage."""
        return OURS.sub(f"{self.root}/", words)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """The instructions, each with what follows it on its line and on those that continue it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, words = line.partition(" ")
        yield name, words.strip()


def command_of(words: str) -> list[str]:
    """An exec form; a shell form would put a shell between the signal and the viewer."""
    found: list[str] = json.loads(words)
    return found


def build(dockerfile: Path, context: Path, scratch: Path) -> Stage:
    """Take every step; the last stage, as it would be run."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    base = _python(scratch / "base")
    for name, words in steps(dockerfile.read_text()):
        if name == "FROM":
            _, *called = words.split(" AS ")
            root = scratch / f"stage{len(stages)}"
            root.mkdir()
            stage = Stage(root, {"PATH": f"{base}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, root)
            stages[called[0] if called else str(len(stages))] = stage
            continue
        assert stage is not None, "FROM comes first"
        _take(stage, name, words, context, stages)
    assert stage is not None
    return stage


def _take(stage: Stage, name: str, words: str, context: Path, stages: dict[str, Stage]) -> None:
    if name == "ENV":
        for pair in shlex.split(words):
            key, _, value = pair.partition("=")
            value = stage.here(value).replace("$PATH", stage.environment["PATH"])
            stage.environment[key] = value
    elif name == "WORKDIR":
        stage.folder = Path(stage.here(words))
        stage.folder.mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        stage.user = words
    elif name == "COPY":
        _copy(stage, words.split(), context, stages)
    elif name == "RUN":
        done = subprocess.run(
            ["/bin/sh", "-ec", stage.here(words)], cwd=stage.folder, env=stage.environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"RUN {words}\n{done.stdout}{done.stderr}"
    else:
        assert name in ("CMD", "HEALTHCHECK", "STOPSIGNAL", "VOLUME", "EXPOSE"), name
        stage.said[name] = words


def _copy(stage: Stage, words: list[str], context: Path, stages: dict[str, Stage]) -> None:
    *sources, target = words
    if sources[0].startswith("--from="):
        origin = stages[sources.pop(0).removeprefix("--from=")]
        [source] = sources
        # As a layer that is laid over: what scripts say of their own place goes along.
        shutil.copytree(origin.here(source), stage.here(target), symlinks=True)
        _say_anew(Path(stage.here(target)), str(origin.root), str(stage.root))
        return
    into = stage.folder / target
    for source in sources:
        from_here = context / source
        assert from_here.exists(), f"COPY {source}: not in the build's context"
        if from_here.is_dir():
            shutil.copytree(from_here, into, dirs_exist_ok=True)
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(from_here, into)


def _say_anew(folder: Path, before: str, now: str) -> None:
    """In a real image both stages have the same paths."""
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or path.suffix in (".pyc", ".so"):
            continue
        content = path.read_bytes()
        if before.encode() in content:
            path.write_bytes(content.replace(before.encode(), now.encode()))


def _python(folder: Path) -> Path:
    """Where `python` is, with pip, as in the base image."""
    subprocess.run([_everybodys_python(), "-m", "venv", str(folder)], check=True)
    return folder / "bin"


def _everybodys_python() -> Path:
    """One that another user may run too: not one in root's own folder."""
    ours = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}").resolve()
    for python in (ours, Path("/usr/bin/python3").resolve()):
        if python.exists() and all(folder.stat().st_mode & 0o001 for folder in python.parents):
            return python
    pytest.skip("no Python here that another user may run; CI has one")


def sent(root: Path, target: Path) -> Path:
    """What a build is sent of this checkout: what is in Git, less what .dockerignore keeps back."""
    rules = [
        line.removeprefix("!") if line.startswith("!") else f"-{line}"
        for line in (root / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file() and _is_sent(name, rules):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    return target


def _is_sent(name: str, rules: list[str]) -> bool:
    """The last rule that matches the file, or a folder it is in, decides."""
    ways = [name, *map(str, Path(name).parents)]
    is_sent = True
    for rule in rules:
        pattern = rule.removeprefix("-")
        if any(
            fnmatch.fnmatch(way, pattern) or fnmatch.fnmatch(f"/{way}", pattern.replace("**", "*"))
            for way in ways
            if way != "."
        ):
            is_sent = not rule.startswith("-")
    return is_sent
