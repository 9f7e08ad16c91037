"""Somebody to log in as, for tests and benchmarks that talk to a real server."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

COMMAND = (sys.executable, "-m", "viewer")  # of this checkout
EMAIL, PASSWORD = "owner@crack.example", "a crack in the wall"


def hire(
    environment: Mapping[str, str], cwd: Path | None = None, command: Sequence[str] = COMMAND
) -> None:
    """An owner, made as an operator would, in the viewer of this environment."""
    subprocess.run(
        [*command, "user", "add", EMAIL, "--role", "owner", "--password-stdin"],
        input=f"{PASSWORD}\n", text=True, env=dict(environment), cwd=cwd, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def enter(base: str, *, verify: bool = True) -> requests.Session:
    """A browser in which the owner has logged in through the form. `verify`: the certificate."""
    browser = requests.Session()
    browser.verify = browser.trust_env = verify  # a bundle of this machine's would overrule it
    form = browser.get(f"{base}/login", timeout=60).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert token, form
    answer = browser.post(
        f"{base}/login",
        data={"email": EMAIL, "password": PASSWORD, "csrf_token": token[1]},
        timeout=60,
    )
    assert answer.ok, f"{answer.status_code} at {answer.url}: {answer.text}"
    return browser
