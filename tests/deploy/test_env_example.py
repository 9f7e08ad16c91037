"""deploy/.env.example: every setting, each with a sentence, each accepted as it stands."""

import os
import re
import subprocess
import sys

import pytest

from tests.deploy.conftest import DEPLOY, ROOT
from viewer import config
from viewer.config import Settings

EXAMPLE = (DEPLOY / ".env.example").read_text()
SETTING = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
# What compose.yaml itself asks for, and the viewer does not read.
OF_COMPOSE = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))


def test_it_names_every_setting_once_and_none_that_is_not_one():
    named = [name for _, name, _ in SETTING.findall(EXAMPLE)]

    assert sorted(named) == sorted(set(Settings.model_fields) | OF_COMPOSE)
    assert OF_COMPOSE.isdisjoint(Settings.model_fields)


def test_each_setting_has_a_sentence_of_its_own():
    for paragraph in EXAMPLE.split("\n\n"):
        if SETTING.search(paragraph):
            *sentences, setting = paragraph.strip().splitlines()

            assert SETTING.fullmatch(setting)
            assert sentences, setting
            assert all(line.startswith("# ") for line in sentences)
            assert sentences[-1].endswith(".")


@pytest.mark.parametrize("are_defaults_said", [False, True])
def test_the_viewer_takes_it_as_it_stands(are_defaults_said, tmp_path):
    environment = {
        name: value
        for hidden, name, value in SETTING.findall(EXAMPLE)
        if not hidden or are_defaults_said
    }

    said = subprocess.run(
        [sys.executable, "-m", "viewer", "settings"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert (said.returncode, said.stderr) == (0, "")
    assert "VIEWER_ENV=production\n" in said.stdout


def test_what_it_says_is_the_default_is_the_default():
    said = {name: value for hidden, name, value in SETTING.findall(EXAMPLE) if hidden and value}
    for name in ("X_ACCEL_PREFIX", "X_ACCEL_S3_PREFIX"):
        del said[name]  # as in the nginx site; the sentence says when

    taken = {name: getattr(config.read({name: value}), name) for name, value in said.items()}

    assert len(taken) > 10
    assert taken == {name: Settings.model_fields[name].default for name in taken}
