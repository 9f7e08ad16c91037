"""Settings: a wrong one stops the boot and names itself; none of them tells a secret."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.webhooks import SECRET
from viewer import create_app
from viewer.config import BadSetting, Settings, read


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has set, and whatever stands in its .env, is not ours."""
    for name in [*Settings.model_fields, "VIEWER_FAILPOINTS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("VIEWER_ENV", "prod", "'production' or 'development'"),
        ("DATABASE_URL", "sesame", "not a database address"),
        ("DATABASE_URL", "postgresql://u:sesame@host:port/db", "not a database address"),
        ("DATABASE_URL", "mysql://u:sesame@host/db", "sqlite: or postgresql:"),
        ("DATABASE_URL", "sqlite://", "must name a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "must name a file"),
        ("REDIS_URL", "localhost:6379/sesame", "redis://"),
        ("REDIS_URL", "redis://:sesame@host:port", "redis://"),
        ("QUO_WEBHOOK_SECRETS", "whsec_sesame", "webhook secret 1 of 1"),
        ("QUO_WEBHOOK_SECRETS", f"{SECRET},sesame!", "webhook secret 2 of 2 is not base64"),
        ("QUO_WEBHOOK_SECRETS", f"{SECRET},whsec_", "webhook secret 2 of 2 is empty"),
        ("QUO_NUMBERS", "+1 617 555 0100, front desk", "'front desk' is not a phone number"),
        ("QUO_API_URL", "api.quo.com", "https://"),
        ("MEDIA_HOSTS", "https://m.openph.one/", "is not a host name"),
        ("MEDIA_HOSTS", "*.openphone.com", "is not a host name"),
        ("MEDIA_HOSTS", "user@m.openph.one", "is not a host name"),
        ("MEDIA_ALLOW_LOOPBACK", "perhaps", "boolean"),
        ("MEDIA_MAX_MB", "0", "greater than or equal to 1"),
        ("MEDIA_MAX_MB", "100 MB", "integer"),
        ("RECORDING_MAX_MB", "99999", "less than or equal to"),
        ("TRANSFER_SECONDS", "0", "greater than 0"),
        ("TRANSFER_SECONDS", "nan", "3600"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("PROXY_HOPS", "-1", "greater than or equal to 0"),
        ("X_ACCEL_PREFIX", "stored", "location"),
        ("X_ACCEL_PREFIX", "/a b", "location"),
        ("TZ_DISPLAY", "Boston", "'Boston' is not a time zone"),
        ("TZ_DISPLAY", "America", "'America' is not a time zone"),
        ("TZ_DISPLAY", "../etc/passwd", "'../etc/passwd' is not a time zone"),
        ("LOG_LEVEL", "loud", "'DEBUG'"),
    ],
)
def test_a_bad_setting_stops_the_boot_and_names_itself(name, value, words, monkeypatch):
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSetting) as problem:
        create_app()

    assert str(problem.value).startswith(f"{name}: ")
    assert words in str(problem.value)
    assert "sesame" not in str(problem.value)
    assert problem.value.__cause__ is None  # nor by what a traceback would show beneath
    assert problem.value.__suppress_context__


def test_every_bad_setting_is_named_at_once(monkeypatch):
    monkeypatch.setenv("WORKERS", "many")
    monkeypatch.setenv("TZ_DISPLAY", "Boston")

    with pytest.raises(BadSetting) as problem:
        read()

    assert [line.partition(":")[0] for line in str(problem.value).splitlines()] == [
        "WORKERS",
        "TZ_DISPLAY",
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("MEDIA_ALLOW_LOOPBACK", "1"), ("VIEWER_FAILPOINTS", "collect.placed=kill")]
)
def test_what_is_for_tests_is_refused_in_production(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    elsewhere = read()
    monkeypatch.setenv("VIEWER_ENV", "production")

    with pytest.raises(BadSetting, match=name):
        read()

    assert elsewhere.VIEWER_ENV == "development"


def test_a_data_dir_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(BadSetting, match=r"^DATA_DIR: .*/file/data cannot be used"):
        create_app({"DATA_DIR": tmp_path / "file" / "data"})


def test_the_console_says_one_line_instead_of_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "viewer", "settings"],
        env={"WORKERS": "many", "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("viewer: WORKERS: ")
    assert len(done.stderr.splitlines()) == 1


def test_settings_in_force_are_shown_without_their_secrets():
    found = read(
        {
            "DATABASE_URL": "postgresql://viewer:sesame@host/db",
            "REDIS_URL": "redis://:sesame@host",
            "SECRET_KEY": "sesame",
            "QUO_API_KEY": "sesame",
            "QUO_WEBHOOK_SECRETS": SECRET,
        }
    )

    shown = repr(found) + "".join(f"{getattr(found, name)}" for name in Settings.model_fields)

    assert "sesame" not in shown
    assert SECRET not in shown
    assert found.database_url == "postgresql+psycopg://viewer:sesame@host/db"
    assert found.redis_url == "redis://:sesame@host"
    assert found.webhook_secrets == (SECRET,)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_by_any_of_its_names_is_the_driver_we_ship(scheme):
    url = read({"DATABASE_URL": f"{scheme}://u:p%40ss@host:5433/db?sslmode=require"}).database_url

    assert url == "postgresql+psycopg://u:p%40ss@host:5433/db?sslmode=require"


def test_lists_are_divided_by_commas_and_made_canonical(monkeypatch):
    monkeypatch.setenv("QUO_NUMBERS", " (617) 555-0100 ,+16175550101,, ")
    monkeypatch.setenv("MEDIA_HOSTS", "M.OpenPh.one, .Quo.com")
    monkeypatch.setenv("TRUSTED_HOSTS", "viewer.example,localhost")
    monkeypatch.setenv("QUO_WEBHOOK_SECRETS", f"{SECRET},")

    found = read()

    assert found.QUO_NUMBERS == ("+16175550100", "+16175550101")
    assert found.MEDIA_HOSTS == ("m.openph.one", ".quo.com")
    assert found.TRUSTED_HOSTS == ("viewer.example", "localhost")
    assert found.webhook_secrets == (SECRET,)  # a comma too many is no secret too many


def test_the_env_file_is_read_and_the_environment_wins(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("WORKERS=3\nTZ_DISPLAY=Europe/Berlin\nNOT_OURS=1\n")
    monkeypatch.setenv("WORKERS", "5")

    found = read()

    assert (found.WORKERS, found.TZ_DISPLAY) == (5, "Europe/Berlin")
    assert read({"WORKERS": 7}).WORKERS == 7


def test_an_empty_variable_means_the_default(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.setenv(name, "")

    assert read() == Settings()


def test_everything_lies_under_the_data_dir_unless_told_otherwise(tmp_path):
    found = read({"DATA_DIR": "here"})

    assert found.data_dir == tmp_path / "here"
    assert found.media_root == tmp_path / "here" / "media"
    assert found.database_url == f"sqlite:///{tmp_path}/here/viewer.db"
    assert found.redis_url == f"unix://{tmp_path}/here/valkey.sock"
    assert read({"MEDIA_ROOT": "there"}).media_root == tmp_path / "there"


@pytest.mark.proof
def test_a_secret_key_is_made_once_whoever_comes_first(tmp_path):
    program = (
        "import sys; from pathlib import Path; from viewer.config import read; "
        "data = Path(sys.argv[1]); found = read({'DATA_DIR': data}); sys.stdin.read(1); "
        "print(found.secret_key())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        for _ in range(3)
    ]

    for process in processes:  # all are ready by now, or nearly
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    keys = {process.communicate()[0].strip() for process in processes}

    kept = tmp_path / "secret_key"
    assert keys == {kept.read_text()}
    assert len(kept.read_text()) == 64
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
    assert app_key(tmp_path) == app_key(tmp_path) == kept.read_text()
    assert app_key(tmp_path, SECRET_KEY="given") == "given"


def app_key(data_dir: Path, **given: Any) -> object:
    return create_app({"DATA_DIR": data_dir, **given}).config["SECRET_KEY"]


def test_the_docs_name_every_setting_and_no_other():
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    table = page.partition("## Settings")[2].partition("\n## ")[0]

    named = set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)) - {"setting", "---"}
    names = {name for cell in named for name in re.findall(r"`([A-Z_]+)`", cell)}

    assert names == set(Settings.model_fields)
