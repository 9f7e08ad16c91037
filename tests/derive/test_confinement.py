"""Code that has taken over a decoder can reach nothing: probes.py, run where a decoder stands."""

import contextlib
import ctypes
import errno
import json
import os
import platform
import secrets
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support import probes, samples
from viewer import derive
from viewer.derive import seccomp

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: what nobody else may do proves nothing of the boundary"
)

PHOTO = samples.packed(samples.corner_picture(90, 60), "PNG")
BOOT = derive._BOOT

# Evaluates an expression in place of the decoder. `before` runs where nothing confines yet.
HOSTILE = """
from viewer.derive import sandbox
from viewer.derive.types import Described

def take_over(*_):
    hostile = {{"__name__": "hostile"}}
    exec({probes!r}, hostile)
    yield Described(camera=str(eval({expression!r}, hostile)))

sandbox._do = take_over
{before}
"""
WITHOUT_CONFINEMENT = (
    "sandbox._limit = lambda limits: None; sandbox.confinement.drop_rights = lambda: None"
)


@pytest.fixture(params=[contextlib.nullcontext, derive.warm], ids=["cold", "warm"])
def _way(request):
    """Each child a fresh interpreter, or forked from a zygote: the same holds of both."""
    with request.param():
        yield


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Evaluate an expression among the probes, in a decoder's process."""
    (tmp_path / "work").mkdir()
    (tmp_path / "photo.png").write_bytes(PHOTO)

    def run(expression, before=""):
        text = Path(probes.__file__).read_text()
        code = HOSTILE.format(probes=text, expression=expression, before=before)
        monkeypatch.setattr(derive, "_BOOT", derive._PACKAGES + code + BOOT)
        return derive.describe(tmp_path / "photo.png", "image/png", tmp_path / "work").camera

    return run


@pytest.fixture
def tell(run, tmp_path):
    """As run(), for more than a line: the value comes by a file in the work folder."""

    def tell(expression, before=""):
        run(f'Path("said.json").write_text(json.dumps({expression}))', before)
        return json.loads((tmp_path / "work" / "said.json").read_text())

    return tell


@pytest.fixture
def given(tmp_path):
    """What there is to be had on a host, and a process that stands for the worker."""
    (tmp_path / "secret").write_text("key-of-the-provider")
    with contextlib.closing(sqlite3.connect(tmp_path / "viewer.db")) as database:
        database.execute("CREATE TABLE customers (name)")
        database.execute("INSERT INTO customers VALUES ('Ada Example')")
        database.commit()
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "original.png").write_bytes(PHOTO)
    abstract = secrets.token_hex(8)
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as hidden,
        subprocess.Popen(["sleep", "600"], start_new_session=True) as victim,
    ):
        unix.bind(str(tmp_path / "valkey.sock"))
        unix.listen()
        hidden.bind("\0" + abstract)
        hidden.listen()
        yield {
            "secret": str(tmp_path / "secret"),
            "database": str(tmp_path / "viewer.db"),
            "original": str(tmp_path / "media" / "original.png"),
            "port": tcp.getsockname()[1],
            "socket": str(tmp_path / "valkey.sock"),
            "abstract": abstract,
            "victim": victim.pid,
        }
        victim.kill()


@pytest.mark.usefixtures("_way")
def test_nothing_is_to_be_had_behind_the_boundary(tell, given):
    said = tell(f"{{name: attempt(name, {given}) for name in PROBES}}")

    assert said.keys() == probes.PROBES.keys()
    assert {name: one for name, one in said.items() if not one.startswith("refused: ")} == {}
    assert Path(given["original"]).read_bytes() == PHOTO
    assert [path.name for path in Path(given["original"]).parent.iterdir()] == ["original.png"]


@needs_root
@pytest.mark.parametrize("name", probes.PROBES)
def test_the_same_is_to_be_had_where_nothing_confines(run, given, name):
    said = run(f"attempt({name!r}, {given})", before=WITHOUT_CONFINEMENT)

    assert said.startswith("done: ")


KERNEL = f"call_the_kernel({platform.machine()!r})"


@pytest.mark.usefixtures("_way")
def test_the_kernel_refuses_what_no_decoder_needs(tell):
    said = tell(KERNEL)

    assert said.keys() == probes.SYSTEM_CALLS.keys()
    # As if there were none: threads are then made by clone(), whose flags a filter can read.
    assert said.pop("clone3") == errno.ENOSYS
    assert set(said.values()) == {errno.EPERM}


@needs_root
def test_the_kernel_would_not_refuse_it(tell):
    said = tell(KERNEL, before=WITHOUT_CONFINEMENT)

    assert [name for name, number in said.items() if number == errno.EPERM] == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64, which has two more ABIs")
def test_a_call_by_the_numbers_of_another_architecture_ends_the_decoder(run):
    try:
        assert int(run("call_as_32_bit()", before=WITHOUT_CONFINEMENT)) > 0
    except derive.Killed:
        pytest.skip("needs a kernel that runs 32-bit programs")

    with pytest.raises(derive.Killed, match="SIGSYS"):
        run("call_as_32_bit()")


# --- older and other kernels ---------------------------------------------------------------------


def attempts(names, given):
    """An expression: the first word of what comes of each."""
    return f"[attempt(name, {given}).partition(':')[0] for name in {names}]"


@pytest.mark.parametrize("version", range(1, 7))
def test_older_versions_of_landlock_do(run, given, version):
    names = ["read_another_original", "alter_another_original", "delete_an_original"]
    older = f"from viewer.derive import landlock; landlock.version = lambda: {version}"

    assert run(attempts(names, given), before=older) == str(["refused"] * 3)


@pytest.mark.parametrize(
    ("lacks", "reachable", "refused"),
    [
        (["Landlock"], ["read_another_original"], ["connect_over_tcp", "fork"]),
        (["seccomp"], ["fork"], ["read_the_database", "connect_over_tcp", "signal_the_worker"]),
        (["Landlock", "seccomp"], ["read_the_database", "connect_over_tcp", "fork"], []),
    ],
    ids=["no Landlock", "no seccomp", "neither"],
)
def test_a_kernel_that_lacks_one_is_held_to_the_other(run, given, lacks, reachable, refused):
    lacking = f"sandbox.confinement.missing = lambda: {lacks}"

    said = run(attempts(reachable + refused, given), before=lacking)

    assert said == str(["done"] * len(reachable) + ["refused"] * len(refused))


def test_what_a_kernel_or_container_does_not_offer_is_noticed():
    # Behind our own filter neither can be had, as in a container with a strict one.
    asked = "confinement.drop_rights()\nprint(confinement.missing())"
    code = f"{derive._PACKAGES}from viewer.derive import confinement\n{asked}"
    done = subprocess.run([*derive._command(code)], capture_output=True, text=True, check=True)

    assert derive.missing_confinement() == []
    assert done.stdout == "['Landlock', 'seccomp']\n"


# --- what decoders need --------------------------------------------------------------------------

# In place of EPERM, so that no library can do without in silence.
DEADLY = "from viewer.derive import seccomp; seccomp._REFUSE = seccomp._KILL\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One of each kind that phones and the provider send."""
    folder = tmp_path_factory.mktemp("files")
    for format_ in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "HEIF"):
        picture = samples.corner_picture(1200, 900)
        (folder / format_.lower()).write_bytes(samples.packed(picture, format_))
    samples.film(folder / "h264", "libx264", "mov", voice="aac")
    samples.film(folder / "h265", "libx265", "mov", voice="aac")
    samples.film(folder / "vp9", "libvpx-vp9", "webm")
    for codec, container, rate in (
        ("libopencore_amrnb", "amr", 8000),
        ("aac", "mp4", 44100),
        ("libmp3lame", "mp3", 44100),
        ("libopus", "ogg", 48000),
        ("pcm_s16le", "wav", 44100),
        ("flac", "flac", 44100),
    ):
        samples.sound(folder / container, codec, container, rate=rate)
    return sorted(folder.iterdir())


@pytest.mark.usefixtures("_way")
def test_what_is_imported_late_is_not_kept_compiled(run):
    assert run('__import__("sys").dont_write_bytecode') == "True"


def test_no_decoder_asks_for_what_is_refused(files, monkeypatch, tmp_path):
    monkeypatch.setattr(derive, "_ZYGOTE", derive._PACKAGES + DEADLY + derive._ZYGOTE)
    made = {}
    with derive.warm():
        for file in files:
            mime_type = derive.sniff(file.read_bytes()[: derive.HEAD_SIZE]).mime_type
            for task in (derive.derive, derive.clean, derive.describe):
                into = tmp_path / f"{task.__name__}-{file.name}"
                into.mkdir()
                with contextlib.suppress(derive.Unreadable):
                    made[task.__name__, file.name] = task(file, mime_type, into)

    names = {file.name for file in files}
    assert {name for task, name in made if task == "derive"} == names
    assert {name for task, name in made if task == "clean"} == names - {"amr"}
    assert all(one.problem is None for (task, _), one in made.items() if task == "derive")


def test_a_kernel_that_offers_nothing_decodes_all_the_same(files, monkeypatch, tmp_path):
    lacking = "confinement.missing = lambda: ['Landlock', 'seccomp']\n"
    code = f"{derive._PACKAGES}from viewer.derive import confinement\n{lacking}"
    monkeypatch.setattr(derive, "_BOOT", code + BOOT)
    file = next(file for file in files if file.name == "jpeg")

    assert derive.derive(file, "image/jpeg", tmp_path).width == 1200


def test_every_number_is_that_of_its_call_on_both_architectures():
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("needs libseccomp, which knows the numbers")
    listed = {
        **seccomp._ALLOWED,
        **{name: numbers for name, (numbers, _, _) in seccomp._PARTLY.items()},
        **seccomp._TO_ITSELF,
        "clone": seccomp._CLONE,
        "clone3": seccomp._CLONE3,
    }

    for place, architecture in enumerate(seccomp._ARCHITECTURES.values()):
        for name, numbers in listed.items():
            known = library.seccomp_syscall_resolve_name_arch(
                ctypes.c_uint32(architecture), name.encode()
            )
            assert numbers[place] == (known if known >= 0 else None), name
