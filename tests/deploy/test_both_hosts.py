"""Two whole hosts in network namespaces, behind the balancer of deploy/two-hosts/."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import program

ROOT = Path(__file__).parents[2]


@pytest.mark.proof
def test_k63_two_hosts_that_are_killed_in_turn_lose_and_double_nothing():
    for name in ("nginx", "openssl", "ip", "unshare"):
        program(name)

    done = subprocess.run(
        [sys.executable, "-m", "tests.two_hosts", "--events=12", "--seconds=8", "--every=4"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["photos"], said["wrong"]) == (36, [])
    assert said["kills"] >= 1
