"""Settings: a wrong one stops the boot and names itself; none of them tells a secret."""

import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.webhooks import SECRET
from viewer import config, create_app, storage
from viewer.config import LOOPBACK_HOSTS, BadSetting, Settings, read

GIVEN_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has set, and whatever stands in its .env, is not ours."""
    for name in [*Settings.model_fields, "VIEWER_FAILPOINTS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIEWER_ENV", "development")
    monkeypatch.setenv("VIEWER_HOME", str(tmp_path))
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
        ("REDIS_URL", "unix://var/sesame.sock", "unix:///"),
        ("QUO_API_KEY", "Bearer sesame", "without Bearer"),
        ("QUO_API_KEY", "bearersesame", "without Bearer"),
        ("QUO_API_KEY", "sesame sesame", "must not contain spaces"),
        ("QUO_API_KEY", "sesame\n", "must not contain spaces"),
        ("QUO_API_KEY", "sesamé", "ASCII"),
        ("QUO_API_URL", "api.quo.com", "https://"),
        ("QUO_API_URL", "https://", "has no host"),
        ("QUO_API_URL", "https:///v1", "has no host"),
        ("QUO_API_URL", "https://api quo.com", "has no host"),
        ("QUO_API_URL", "https://.quo.com", "has no host"),
        ("QUO_API_URL", "https://user:sesame@api.quo.com", "must not hold a user"),
        ("QUO_API_URL", "https://api.quo.com?key=sesame", "a query"),
        ("QUO_API_URL", "https://api.quo.com#sesame", "a fragment"),
        ("QUO_API_URL", "https://api.quo.com:sesame", "is not an address"),
        ("QUO_API_URL", "https://api.quo.com/a b", "must not contain spaces"),
        ("SECOND_FACTOR", "owners", "'offered', 'office' or 'all'"),
        ("SMTP_URL", "mail.example:587", "must look like smtp://"),
        ("SMTP_URL", "https://user:sesame@mail.example", "must look like smtp://"),
        ("SMTP_URL", "smtp://:25", "must look like smtp://"),
        ("SMTP_URL", "smtp://mail.example:x", "must look like smtp://"),
        ("SMTP_URL", "smtp://mail.example/x", "must look like smtp://"),
        ("SMTP_URL", "smtp://mail.example?to=a@b.example", "no other parameter"),
        ("PUBLIC_URL", "viewer.example", "https://"),
        ("PUBLIC_URL", "https://", "has no host"),
        ("PUBLIC_URL", "https://viewer.example/photos", "without a path"),
        ("PUBLIC_URL", "https://viewer.example//", "without a path"),
        ("PUBLIC_URL", "https://user:sesame@viewer.example", "must not hold a user"),
        ("TRUSTED_HOSTS", "https://x", "'https://x' is not a host name"),
        ("TRUSTED_HOSTS", "viewer.example:8443", "is not a host name"),
        ("TRUSTED_HOSTS", "viewer.example/", "is not a host name"),
        ("TRUSTED_HOSTS", "a.example b.example", "separated by commas"),
        ("TRUSTED_HOSTS", "*", "is not a host name"),
        ("TRUSTED_HOSTS", "[::1]", "is not a host name"),
        ("MEDIA_HOSTS", "a b", "'a b' is not a host name"),
        ("MEDIA_HOSTS", "m.openph.one:443", "is not a host name"),
        ("MEDIA_HOSTS", "user:sesame@m.openph.one", "'m.openph.one' is not a host name"),
        ("MEDIA_HOSTS", "..quo.com", "is not a host name"),
        ("MEDIA_HOSTS", "quo.com.", "is not a host name"),
        ("SILENCE_HOURS", "inf", "less than or equal to"),
        ("SILENCE_HOURS", "nan", "less than or equal to"),
        ("SESSION_IDLE_HOURS", "nan", "less than or equal to"),
        ("SESSION_IDLE_HOURS", "inf", "less than or equal to"),
        ("SESSION_DAYS", "inf", "less than or equal to"),
        ("TRANSFER_SECONDS", "inf", "less than or equal to"),
        ("DATA_DIR", "~nobody-by-this-name/viewer", "no home folder"),
        ("MEDIA_ROOT", "~nobody-by-this-name/photos", "no home folder"),
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
        ("X_ACCEL_S3_PREFIX", "object", "location"),
        ("SIGNED_WINDOW_HOURS", "85", "good for two windows"),
        ("SIGNED_WINDOW_HOURS", "0.5", "from 1 to 84"),
        ("MEDIA_REDIRECT", "sometimes", "boolean"),
        ("CDN_URL", "media.example.com", "https://"),
        ("CDN_URL", "https://media.example.com", "without MEDIA_REDIRECT=on"),
        ("TZ_DISPLAY", "Boston", "'Boston' is not a time zone"),
        ("TZ_DISPLAY", "America", "'America' is not a time zone"),
        ("TZ_DISPLAY", "../etc/passwd", "'../etc/passwd' is not a time zone"),
        ("LOG_LEVEL", "loud", "'DEBUG'"),
        ("BACKUP_TARGETS", "backup", "'backup' is not the absolute path"),
        ("BACKUP_TARGETS", "/mnt/backup,ftp:/x", "'ftp:/x' is not the absolute path"),
        ("BACKUP_TARGETS", "s3://AKIA:key@bucket", "must not hold an access key"),
        ("BACKUP_TARGETS", "/mnt/backup,s3://bucket/a?secret=1", "takes endpoint, region"),
        ("BACKUP_EVERY_HOURS", "0", "greater than 0"),
        ("BACKUP_EVERY_HOURS", "25", "less than or equal to 24"),
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
            "SECRET_KEY": "sesame 0123456789 abcdefghijklmno",
            "QUO_API_KEY": "sesame",
            "QUO_WEBHOOK_SECRETS": SECRET,
            "S3_ACCESS_KEY_ID": "sesame",
            "S3_SECRET_ACCESS_KEY": "sesame",
        }
    )

    shown = repr(found) + "".join(f"{getattr(found, name)}" for name in Settings.model_fields)

    assert "sesame" not in shown
    assert SECRET not in shown
    assert found.database_url == "postgresql+psycopg://viewer:sesame@host/db"
    assert found.redis_url == "redis://:sesame@host"
    assert found.webhook_secrets == (SECRET,)
    assert found.s3_credentials == storage.Credentials("sesame", "sesame")
    assert "sesame" not in repr(found.s3_credentials)


@pytest.mark.parametrize("given", ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"])
def test_half_an_access_key_is_refused(given):
    with pytest.raises(BadSetting, match="belong together") as refused:
        read({given: "sesame"})

    assert "sesame" not in str(refused.value)
    assert read().s3_credentials is None


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


# --- Whose folder --------------------------------------------------------------------------


def test_env_file_and_relative_paths_belong_to_viewer_home_wherever_we_start(tmp_path, monkeypatch):
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / ".env").write_text("DATABASE_URL=sqlite:///rows/viewer.db\n")
    (tmp_path / ".env").write_text("WORKERS=7\n")
    monkeypatch.setenv("VIEWER_HOME", str(tmp_path / "house"))

    found = read({"MEDIA_ROOT": "photos"})

    assert found.WORKERS == 2
    assert found.data_dir == tmp_path / "house" / "var"
    assert found.media_root == tmp_path / "house" / "photos"
    assert found.database_url == f"sqlite:///{tmp_path}/house/rows/viewer.db"


def test_without_viewer_home_it_is_the_folder_of_the_checkout(monkeypatch):
    monkeypatch.delenv("VIEWER_HOME")

    assert config.home() == Path(__file__).resolve().parent.parent


def test_as_a_wheel_it_is_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("VIEWER_HOME")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "wsgi.py").write_text("of another package")
    monkeypatch.setattr(config, "CHECKOUT", tmp_path / "site-packages")

    assert config.home() == tmp_path


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me").mkdir()
    monkeypatch.setenv("VIEWER_HOME", "~")

    found = read(
        {"DATA_DIR": "~/data", "MEDIA_ROOT": "~/photos", "DATABASE_URL": "sqlite:///~/rows.db"}
    )

    assert config.home() == tmp_path / "me"
    assert found.data_dir == tmp_path / "me" / "data"
    assert found.media_root == tmp_path / "me" / "photos"
    assert found.database_url == f"sqlite:///{tmp_path}/me/rows.db"


def test_a_dot_is_a_folder_too(tmp_path):
    assert read({"MEDIA_ROOT": "."}).media_root == tmp_path


@pytest.mark.parametrize("made", [None, "file"])
def test_a_home_that_is_no_folder_is_named(made, tmp_path, monkeypatch):
    if made:
        (tmp_path / "house").write_text("in the way")
    monkeypatch.setenv("VIEWER_HOME", str(tmp_path / "house"))

    with pytest.raises(BadSetting, match=r"^VIEWER_HOME: .*/house is not a folder"):
        read()


def test_an_env_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"WORKERS=\xff\n")

    with pytest.raises(BadSetting, match=r"/\.env cannot be read: is not text"):
        read()


def test_a_folder_is_new_until_something_is_kept_in_it(tmp_path):
    found = read({"DATA_DIR": "here"})
    before = config.is_new(found)
    found.data_dir.mkdir()
    for name in (config.VIEWER_LOCK, config.PARTS_LOCK, config.USE_LOCK):
        (found.data_dir / name).touch()
    with_locks = config.is_new(found)
    found.secret_key()

    assert (before, with_locks, config.is_new(found)) == (True, True, False)


# --- Misspelt names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER", "WORKERS"),
        ("WOKRERS", "WORKERS"),
        ("QUO_WEBHOOK_SECRET", "QUO_WEBHOOK_SECRETS"),
        ("QUO_SECRET", "QUO_WEBHOOK_SECRETS"),
        ("QUO_KEY", "QUO_API_KEY"),
        ("QUO_PHONE_NUMBERS", "QUO_NUMBERS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("MEDIA_HOST", "MEDIA_HOSTS"),
        ("TRUSTED_HOST", "TRUSTED_HOSTS"),
        ("SESSION_DAY", "SESSION_DAYS"),
        ("LOG_LEVELS", "LOG_LEVEL"),
        ("DATA_DIRS", "DATA_DIR"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelt_name_of_ours_is_refused(name, meant, place, tmp_path, monkeypatch):
    if place == "file":
        (tmp_path / ".env").write_text(f"{name}=sesame\n")
    else:
        monkeypatch.setenv(name, "sesame")

    with pytest.raises(BadSetting) as problem:
        read()
    assert str(problem.value) == f"{name}: there is no such setting; did you mean {meant}?"


@pytest.mark.parametrize(
    "name",
    [
        # With a word of theirs before or behind.
        "SECRET_KEY_BASE", "APP_SECRET_KEY", "DJANGO_SECRET_KEY", "FLASK_SECRET_KEY",
        "DATABASE_URL_TEST", "TEST_DATABASE_URL", "RQ_REDIS_URL", "REDIS_TLS_URL",
        "DD_LOG_LEVEL", "RUST_LOG_LEVEL", "TF_LOG_LEVEL", "XDG_DATA_DIRS", "PG_DATA_DIR",
        "PIP_TRUSTED_HOST", "WORKERS_DIR", "GUNICORN_WORKERS", "X_DATA_DIR",
        # A second one of another program.
        "REDIS_URL2", "REDIS_URL_2", "DATABASE_URL1", "WORKERS2",
        # Common names that look like ours from afar.
        "DATABASE_HOST", "DATABASE_NAME", "DATABASE_PORT", "REDIS_HOST", "REDIS_PORT", "MEDIA_URL",
        "STATIC_ROOT", "ALLOWED_HOSTS", "PROXY_HOST", "PROXY_PORT", "HTTP_PROXY", "NO_PROXY",
        "API_KEY", "API_URL", "BASE_URL", "LOGLEVEL", "DATADIR", "TZ", "LOGNAME", "WORKSPACE",
        "VIRTUAL_ENV", "WEB_CONCURRENCY", "PGDATA", "HOME", "DISPLAY",
        # Of continuous integration, containers and our own deployment.
        "CI", "CI_SERVER_URL", "GITHUB_SERVER_URL", "GITHUB_WORKSPACE", "RUNNER_DEBUG",
        "VIEWER_PORT", "VIEWER_SERVICE_HOST", "VIEWER_VERSION", "VIEWER_ENVIRONMENT",
        "VIEWER_NOTHING_SKIPPED",
        "COMPOSE_PROFILES", "POSTGRES_PASSWORD", "POSTGRES_DB", "PUBLIC_HOST",
    ],
)  # fmt: skip
def test_names_of_other_programs_are_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "theirs")

    assert read() == Settings()


def test_beside_the_setting_itself_a_similar_name_is_somebody_elses(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URI", "theirs")
    (tmp_path / ".env").write_text("DATABASE_URL=sqlite:///ours.db\n")

    assert read().database_url == f"sqlite:///{tmp_path}/ours.db"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("workers=3", "workers: there is no such setting; did you mean WORKERS?"),
        ("LOGLEVEL=DEBUG", "did you mean LOG_LEVEL?"),
        ("VIEWER_HOME=/srv", "VIEWER_HOME: belongs in the environment"),
    ],
)
def test_in_the_env_file_less_is_believed_to_be_for_others(line, words, tmp_path):
    (tmp_path / ".env").write_text(f"{line}\nPOSTGRES_PASSWORD=x\nDD_LOG_LEVEL=x\n")

    with pytest.raises(BadSetting) as problem:
        read()

    assert words in str(problem.value)
    assert len(str(problem.value).splitlines()) == 1


def test_misspelt_names_and_wrong_values_are_named_together(monkeypatch):
    monkeypatch.setenv("WORKER", "9")
    monkeypatch.setenv("TZ_DISPLAY", "Boston")

    with pytest.raises(BadSetting) as problem:
        read()

    assert [line.partition(":")[0] for line in str(problem.value).splitlines()] == [
        "WORKER",
        "TZ_DISPLAY",
    ]


# --- Keys and addresses --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        (GIVEN_KEY[:31], "a key needs at least 32 characters"),
        ("x" * 64, "a key must not repeat a few characters"),
        ("abcd" * 16, "a key must not repeat a few characters"),
        ("change-me-change-me-change-me-1234", "that is an example"),
        ("django-insecure-1234567890abcdefghijk", "that is an example"),
        ("192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", "that is an example"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("environment", ["production", "development"])
def test_a_weak_key_is_refused_without_being_shown(name, key, words, environment):
    with pytest.raises(BadSetting, match=rf"^{name}: {words}") as problem:
        read({name: key, "VIEWER_ENV": environment})

    assert key not in str(problem.value)
    assert read({name: GIVEN_KEY, "VIEWER_ENV": environment})


def test_made_keys_are_never_called_weak():
    for make in (lambda: secrets.token_hex(16), lambda: secrets.token_urlsafe(24)):
        assert all(read({"SECRET_KEY": make()}) for _ in range(50))


# --- Production by default -----------------------------------------------------------------


def test_whoever_says_nothing_is_in_production(monkeypatch):
    monkeypatch.delenv("VIEWER_ENV")

    assert read().VIEWER_ENV == "production"
    with pytest.raises(BadSetting, match="MEDIA_ALLOW_LOOPBACK"):
        read({"MEDIA_ALLOW_LOOPBACK": True})


@pytest.mark.parametrize("settings", [{"TRUSTED_HOSTS": "photos.example"}, {"PROXY_HOPS": 1}])
def test_an_address_for_links_is_demanded_once_people_come_from_elsewhere(settings):
    [name] = settings
    with pytest.raises(BadSetting, match=rf"^PUBLIC_URL: must be the address .*{name}"):
        read({"VIEWER_ENV": "production", **settings})

    assert read({"VIEWER_ENV": "production", "PUBLIC_URL": "https://photos.example", **settings})
    assert read({"VIEWER_ENV": "production", "TRUSTED_HOSTS": "localhost"})


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        ({"VIEWER_ENV": "production"}, LOOPBACK_HOSTS),
        ({"PUBLIC_URL": "https://photos.example:8443"}, ("photos.example", *LOOPBACK_HOSTS)),
        ({"PUBLIC_URL": "https://[2001:db8::1]"}, ()),
        (
            {"PUBLIC_URL": "https://photos.example", "TRUSTED_HOSTS": ".example"},
            (".example",),
        ),
        ({"VIEWER_ENV": "development"}, ()),
    ],
)
def test_which_hosts_are_answered(settings, hosts):
    assert read(settings).answered_hosts == hosts


def test_an_empty_key_file_stops_the_boot(tmp_path):
    (tmp_path / "secret_key").write_text("")

    with pytest.raises(BadSetting, match=r"^DATA_DIR: .*/secret_key is empty"):
        create_app({"DATA_DIR": tmp_path})


def test_the_public_address_must_be_one_that_opens():
    assert read({"PUBLIC_URL": "https://viewer.example/"}).PUBLIC_URL == "https://viewer.example"
    assert read({"PUBLIC_URL": "http://127.0.0.1:8000"}).PUBLIC_URL == "http://127.0.0.1:8000"
    assert read({"PUBLIC_URL": "https://a.b.example", "TRUSTED_HOSTS": "x.example,.b.example"})
    assert read({"PUBLIC_URL": "https://b.example", "TRUSTED_HOSTS": ".b.example"})
    with pytest.raises(BadSetting, match=r"^PUBLIC_URL: TRUSTED_HOSTS lacks its host b.example"):
        read({"PUBLIC_URL": "https://b.example", "TRUSTED_HOSTS": "a.b.example,.c.example"})
    with pytest.raises(BadSetting, match=r"^PUBLIC_URL: must begin with https:// in production"):
        read({"PUBLIC_URL": "http://viewer.example", "VIEWER_ENV": "production"})


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
    assert app_key(tmp_path, SECRET_KEY=GIVEN_KEY) == GIVEN_KEY


def app_key(data_dir: Path, **given: Any) -> object:
    return create_app({"DATA_DIR": data_dir, **given}).config["SECRET_KEY"]


def test_the_docs_name_every_setting_and_no_other():
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
    table = page.partition("## Settings")[2].partition("\n## ")[0]

    named = set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)) - {"setting", "---"}
    names = {name for cell in named for name in re.findall(r"`([A-Z0-9_]+)`", cell)}

    assert names == set(Settings.model_fields)
