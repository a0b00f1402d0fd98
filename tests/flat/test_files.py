"""Reading files that are something else, and writing files that are whole or not there."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests.flat.test_container import zipped
from tests.flat.test_patch import small
from tflitekit import _crew
from tflitekit.flat import files
from tflitekit.graph import Deferred

BODY = tk.serialize(small())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(BODY)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"TFL", "only 3 bytes long"),
        (b"just some text, not a model at all", "a text file"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b'{"version": 3}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 442000\n", "Git LFS pointer of a file of 442000 bytes"),
        (zipped(b""), "zip archive"),
        (gzip.compress(BODY), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (BODY[:4] + b"TFL2" + BODY[8:], "expected b'TFL3'"),
        ((len(BODY)).to_bytes(4, "little") + BODY, "size-prefixed"),
        (bytes(64), "expected b'TFL3'"),
    ],
    ids=["empty", "tiny", "text", "html", "json", "lfs", "zip", "gzip", "hdf5", "identifier", "size-prefix", "zeros"],
)
def test_wrong_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(tk.InputError) as caught:
        tk.read(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [lambda: tk.read(5), lambda: tk.parse("TFL3"), lambda: tk.parse(None)])
def test_arguments_of_another_type(call: Callable[[], object]) -> None:
    with pytest.raises(tk.InputError, match="expected the"):
        call()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(tk.InputError, match="no such file"):
        tk.read(tmp_path / "missing.tflite")
    with pytest.raises(tk.InputError, match="is a directory"):
        tk.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(tk.InputError, match="not a regular file"):
        tk.read(tmp_path / "pipe")


@pytest.mark.parametrize("cut", range(8, len(BODY) - 64, 37))
def test_truncated_files_are_damaged_at_a_byte(cut: int) -> None:
    with pytest.raises(tk.CorruptError, match=r"damaged at byte \d+ \(model"):
        tk.parse(BODY[:cut])


def test_schema_version_is_not_a_reason_to_refuse() -> None:
    model = tk.parse(BODY)
    model.version = 4
    again = tk.parse(tk.serialize(model))
    assert again.version == 4
    assert any("version" in p.message for p in tk.verify(again))


def test_write_refuses_and_replaces(saved: Path) -> None:
    model = tk.read(saved)
    model.subgraphs[0].tensors[0].name = b"renamed"
    with pytest.raises(tk.OutputError, match="exists"):
        tk.write(model, saved)
    assert saved.read_bytes() == BODY
    output = tk.write(model, saved, overwrite=True)
    assert output.writer == "rebuild" and saved.read_bytes() == tk.serialize(model)
    assert list(saved.parent.iterdir()) == [saved]


def test_permissions_and_links_are_kept(saved: Path) -> None:
    saved.chmod(0o640)
    link = saved.with_name("link.tflite")
    link.symlink_to(saved.name)
    tk.write(tk.parse(BODY), link, overwrite=True)
    assert link.is_symlink() and saved.stat().st_mode & 0o777 == 0o640
    new = saved.with_name("new.tflite")
    before = os.umask(0o027)
    try:
        tk.write(tk.parse(BODY), new)
    finally:
        os.umask(before)
    assert new.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux keeps them")
@pytest.mark.parametrize("backup", [False, True])
def test_access_lists_and_attributes_are_kept(saved: Path, monkeypatch: pytest.MonkeyPatch, backup: bool) -> None:
    """Of the file replaced, and of its backup also where that is a copy; what security modules keep of the old content is not carried over."""
    entries = [(1, 6, -1), (2, 4, 12345), (4, 4, -1), (16, 4, -1), (32, 0, -1)]  # as `setfacl -m user:12345:r`: owner, user, group, mask, others
    wanted = {
        "user.origin": b"converter", "system.posix_acl_access": struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries),
    }  # fmt: skip
    try:
        for name, value in wanted.items():
            os.setxattr(saved, name, value)
    except OSError as error:
        pytest.skip(f"the file system keeps none: {error.strerror}")
    monkeypatch.setattr(os, "link", refusing)
    tk.write(tk.parse(BODY), saved, overwrite=True, backup=backup)
    for path in [saved, *([files.backup_path(saved)] if backup else [])]:
        assert {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.")} == wanted


def refusing(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("target", ["/dev/null", "/dev/full"])
def test_devices_are_no_outputs(target: str) -> None:
    with pytest.raises(tk.OutputError, match="not a regular file"):
        tk.write(tk.parse(BODY), target, overwrite=True)


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(tk.OutputError, match="is a directory; name a file in it"):
        tk.write(tk.parse(BODY), tmp_path)


def test_names_with_a_zero_character() -> None:
    with pytest.raises(tk.InputError, match="no file name"):
        tk.read("a\0b")
    with pytest.raises(tk.OutputError, match="no file name"):
        tk.write(tk.parse(BODY), "a\0b")


@pytest.mark.parametrize("name", ["x" * 255, "水" * 84 + "abc"], ids=["ascii", "three bytes each"])
def test_names_as_long_as_file_systems_take(tmp_path: Path, name: str) -> None:
    tk.write(tk.parse(BODY), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(tk.OutputError, match="cannot create"):
        tk.write(tk.parse(BODY), tmp_path / "no" / "model.tflite")


def test_input_that_changed_meanwhile(saved: Path) -> None:
    model = tk.read(saved)
    with saved.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"x")
    os.utime(saved, ns=(1, 1))
    with pytest.raises(tk.OutputError, match="changed while it was in use"):
        tk.write(model, saved.with_name("other.tflite"))
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def failing_calls(name: str) -> Iterator[int]:
    yield from range(1, 3)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(("name", "call"), [(n, k) for n in ("write", "fsync", "replace", "fchmod") for k in failing_calls(n)])
def test_every_failing_call_leaves_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, code: int
) -> None:
    model = tk.read(saved)
    model.subgraphs[0].tensors[0].name = b"renamed"
    expected = tk.serialize(model)
    real, seen = getattr(os, name), 0

    def fail(*arguments: object) -> object:
        nonlocal seen
        seen += 1
        if seen == call:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr(os, name, fail)
    # Some calls may fail without harm (syncing the folder), and some are made less often than this.
    message = ""
    try:
        tk.write(model, saved, overwrite=True)
    except tk.OutputError as error:
        message = str(error)
    assert (os.strerror(code) in message and seen == call) or not message
    assert saved.read_bytes() in (BODY, expected)
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_short_writes_are_continued(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: real(descriptor, view[:7]))
    out = saved.with_name("out.tflite")
    tk.write(tk.read(saved), out, rebuild=True)
    assert out.read_bytes() == tk.serialize(tk.read(saved), rebuild=True)


@pytest.mark.skipif(sys.platform != "linux", reason="room is reserved on Linux alone")
def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path: Path) -> None:
    script = """
        import os, resource, sys
        from tests import generated
        import tflitekit as tk
        model, real, written = generated.float_weights(1 << 25), os.write, []
        os.write = lambda descriptor, view: written.append(len(view)) or real(descriptor, view)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        try:
            tk.write(model, sys.argv[1])
        except tk.OutputError as error:
            os.write = real
            print(error, len(written))
    """
    path = tmp_path / "model.tflite"
    for limit, words in ((1 << 24, f"{path}: {os.strerror(errno.EFBIG)}; nothing was written 0"), (1 << 26, "")):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), path, str(limit)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == words
        assert path.exists() is not bool(words)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_interrupted_writes_leave_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tk.write(tk.read(saved), saved, overwrite=True)
    assert saved.read_bytes() == BODY and [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_after_an_interrupt_no_thread_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are waited for, which could take long."""
    monkeypatch.setattr(_crew, "_usable", lambda: 2)
    monkeypatch.setattr(_crew, "LARGE", 0)
    begun, interrupted, calls = threading.Event(), threading.Event(), list[int]()

    def interrupt() -> np.ndarray:
        assert begun.wait(10)
        interrupted.set()
        raise KeyboardInterrupt

    def slow(put: Callable[[int, object], None]) -> None:
        begun.set()
        assert interrupted.wait(10)
        for at in range(100):
            time.sleep(0.01)
            put(at, b"1")

    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, part: calls.append(len(part)) or write(descriptor, part))
    with pytest.raises(KeyboardInterrupt):
        files.replace_file(tmp_path / "new.tflite", [Deferred(100, interrupt), Deferred(100, fill=slow)], False, lambda _: None)
    assert len(calls) < 50 and not list(tmp_path.iterdir())


def test_a_new_file_does_not_replace_one_that_appeared(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = saved.with_name("out.tflite")
    real = os.fsync

    def appear(descriptor: int) -> None:
        real(descriptor)
        out.write_bytes(b"theirs")

    monkeypatch.setattr(os, "fsync", appear)
    with pytest.raises(tk.OutputError, match="exists"):
        tk.write(tk.read(saved), out)
    assert out.read_bytes() == b"theirs"


def test_kills_during_writing_never_tear_a_file(tmp_path: Path) -> None:
    """SIGKILL at varied moments: the target is the old file or the new one."""
    target = tmp_path / "model.tflite"
    script = textwrap.dedent("""
        import sys
        import tflitekit as tk
        model = tk.read(sys.argv[1])
        model.add_buffer(bytes(20_000_000))
        print("ready", flush=True)
        while True:
            tk.write(model, sys.argv[2], overwrite=True)
    """)
    old = tmp_path / "old.tflite"
    old.write_bytes(BODY)
    model = tk.parse(BODY)
    model.add_buffer(bytes(20_000_000))
    new = tk.serialize(model)
    for delay in (0.0, 0.01, 0.03, 0.07, 0.12):
        target.write_bytes(BODY)
        child = subprocess.Popen([sys.executable, "-c", script, str(old), str(target)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert target.read_bytes() in (BODY, new)


def test_writing_over_the_mapped_input(saved: Path) -> None:
    model = tk.read(saved)
    model.subgraphs[0].tensors[0].name = b"renamed"
    tk.write(model, saved, overwrite=True)
    assert bytes(model.source.data) == BODY, "the mapping still shows the old file"
    assert tk.diff(model, tk.read(saved)) == []


def test_formats_are_checked_without_reading_everything() -> None:
    with pytest.raises(tk.InputError):
        files.check_format(memoryview(bytes(1 << 20)), "zeros")
