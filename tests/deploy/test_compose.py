"""deploy/compose.yaml: what it says is possible. No engine runs here."""

import re
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.deploy import dockerfile
from tests.deploy.conftest import DEPLOY, ROOT
from viewer.commands import viewer

TEXT = (DEPLOY / "compose.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "viewer"}


def test_without_a_profile_there_is_one_container_with_one_volume():
    [(name, alone)] = [pair for pair in SERVICES.items() if "profiles" not in pair[1]]

    assert name == "viewer"
    assert alone["volumes"] == ["data:/data"]
    assert "command" not in alone  # the image's own: `viewer up`
    assert {"DATABASE_URL", "REDIS_URL"}.isdisjoint(alone["environment"])  # its own, or .env's


def test_the_other_profile_has_every_part_apart():
    parts = {name for name, service in SERVICES.items() if service.get("profiles") == ["several"]}

    assert parts == set(SERVICES) - {"viewer"}
    assert {tuple(service["command"][:3]) for service in OURS.values() if "command" in service} == {
        ("viewer", "web", "--host"),
        ("viewer", "work", "intake"),
        ("viewer", "work", "copies"),
        ("viewer", "schedule"),
        ("viewer", "db", "upgrade"),
    }
    for name in parts & set(OURS):
        environment = OURS[name]["environment"]
        assert "@postgres/" in environment["DATABASE_URL"]
        assert environment["REDIS_URL"] == "redis://valkey:6379/0"


def test_whoever_is_waited_for_can_be_waited_for():
    waited = 0
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            other, waited = SERVICES[name], waited + 1
            assert set(other["profiles"]) >= set(service["profiles"])  # else it would not be there
            if how["condition"] == "service_healthy":
                assert other["healthcheck"]["test"][0] == "CMD"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert other["restart"] == "no"

    assert waited > 10


def test_our_containers_may_do_little_and_write_to_their_volume_only():
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["data:/data"]
        assert service["environment"]["DATA_DIR"] == "/data"
        # Longer than `viewer up` takes at most; Compose itself would kill it after 10 s.
        assert service["stop_grace_period"] == "60s"
    mounted = [volume for service in SERVICES.values() for volume in service["volumes"]]
    assert {volume.partition(":")[0] for volume in mounted} == set(FILE["volumes"])


def test_nobody_from_outside_reaches_anything_but_the_proxy():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert {port.rpartition(":")[0] for port in published} == {"127.0.0.1:8000"}


def test_no_secret_is_in_the_file():
    assert all(service["env_file"] == ".env" for service in OURS.values())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:-\}", value)
    assert re.findall(r"//\w+:([^@]*)@", TEXT) == ["${POSTGRES_PASSWORD:-}"]


def test_what_is_built_is_there():
    [build] = {tuple(sorted(service["build"].items())) for service in OURS.values()}
    context, file = dict(build)["context"], dict(build)["dockerfile"]

    assert (DEPLOY / context).resolve() == ROOT
    assert dict(dockerfile.steps((ROOT / file).read_text()))["CMD"]


@pytest.mark.parametrize("name", sorted(name for name, made in OURS.items() if "command" in made))
def test_its_commands_are_commands_of_ours(name):
    program, *words = OURS[name]["command"]
    assert program == "viewer"

    said = CliRunner().invoke(viewer, [*words, "--help"])

    assert said.exit_code == 0, said.stderr
    assert "Usage:" in said.stdout
