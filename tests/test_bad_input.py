"""Input that is no model gets one clear line and exit code 3, and an exception of ours in the library; what is structurally valid loads."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit.cli.main import main

from . import forge, generated

COMMANDS = ("summary", "tensors", "operators", "verify")


def valid() -> bytes:
    return tk.serialize(generated.many_operators(8))


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("model.tflite", valid())
    return target.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 442000\n"
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "one byte": (lambda: b"T", "1 byte"),
    "text": (lambda: b"These are my notes about the model.\n" * 9, "text"),
    "zip": (zipped, "zip"),
    "gzip": (lambda: gzip.compress(valid()), "gzip"),
    "LFS pointer": (lambda: POINTER, "git lfs pull"),
    "JSON": (lambda: b'{"version": 3, "subgraphs": []}', "JSON"),
    "HTML": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "wrong identifier": (lambda: valid()[:4] + b"XYZ3" + valid()[8:], "XYZ3"),
    "size-prefixed": (lambda: forge.pack(generated.many_operators(8), size_prefix=True), "size-prefixed"),
    "any bytes": (lambda: bytes(range(256)) * 9, "TFL3"),
    "zeros": (lambda: bytes(4096), "TFL3"),
    "only the head": (lambda: valid()[:8], "damaged"),
    "truncated by one": (lambda: valid().rstrip(b"\0")[:-1], "damaged"),
    "truncated by half": (lambda: valid()[: len(valid()) // 2], "damaged"),
    "root outside": (lambda: b"\xf0\xff\xff\x7f" + valid()[4:], "damaged"),
}


def expect_refusal(path: Path | str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Library and every command: the right exception, one line that names the file and says what is wrong, exit code 3, nothing on stdout."""
    with pytest.raises(tk.TFLiteKitError) as caught:
        tk.read(path)
    assert isinstance(caught.value, (tk.InputError, tk.CorruptError))
    for command in COMMANDS:
        capsys.readouterr()
        assert main([command, str(path)]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert err.startswith("tflitekit: ")
        assert Path(path).name in err
        assert says.lower() in err.lower()
        assert "Traceback" not in err


@pytest.mark.parametrize("kind", BAD)
def test_bad_content(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    make, says = BAD[kind]
    path = tmp_path / "m.tflite"
    data = make()
    path.write_bytes(data)
    expect_refusal(path, says, capsys)
    assert path.read_bytes() == data


def test_missing_file_and_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    expect_refusal(tmp_path / "absent.tflite", "no such file", capsys)
    expect_refusal(tmp_path, "directory", capsys)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(tk.InputError):
        tk.read(tmp_path / "pipe.tflite")


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "empty"])
def test_parse_refuses_the_same(kind: str) -> None:
    with pytest.raises((tk.InputError, tk.CorruptError)):
        tk.parse(BAD[kind][0]())


def test_every_truncation_is_refused() -> None:
    """No cut of a small model loads, and none raises anything of somebody else's."""
    data = tk.serialize(generated.many_operators(2))
    loaded = []
    for size in range(1, len(data)):
        try:
            tk.parse(data[:size])
            loaded.append(size)
        except tk.TFLiteKitError:
            pass
    end = len(data.rstrip(b"\0"))
    assert all(size >= end - 1 for size in loaded), f"cuts at {loaded[:5]} load"


# ---- what loads, whatever it means ----


def broken_models() -> dict[str, tk.Model]:
    """Structurally valid models that no runtime would take."""
    made = {
        name: generated.many_operators(8)
        for name in ("version", "duplicate", "empty", "shape", "negative", "scale", "operator", "signature", "dimension", "sentinel")
    }
    made["version"].version = 4
    subgraph = made["duplicate"].subgraphs[0]
    subgraph.operators[1].outputs = list(subgraph.operators[0].outputs)
    made["empty"].subgraphs, made["empty"].signature_defs = [], []
    made["shape"].subgraphs[0].tensors[0].shape = (1 << 30, 1 << 30, 1 << 30)
    made["negative"].subgraphs[0].tensors[0].shape = (-5, 2)
    quantization = made["scale"].subgraphs[0].tensors[0].quantization
    assert quantization is not None
    quantization.zero_point = [1, 2, 3]  # type: ignore[assignment]
    made["operator"].subgraphs[0].operators.reverse()
    made["signature"].signature_defs[0].inputs = []
    dimension = made["dimension"].subgraphs[0].tensors[0].quantization
    assert dimension is not None
    dimension.quantized_dimension = 77
    made["sentinel"].buffers[0].data = memoryview(b"data where none may be")
    return made


@pytest.mark.parametrize("name", broken_models())
def test_a_semantic_fault_loads(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads, comes back unchanged, and is a diagnostic of `verify`; the other commands show it without complaint."""
    model = broken_models()[name]
    path = tmp_path / "m.tflite"
    tk.write(model, path)
    again = tk.read(path)
    assert tk.diff(model, again) == []
    assert tk.serialize(again) == path.read_bytes()
    assert tk.verify(again), "a fault that verify does not see"
    for command in COMMANDS[:3]:
        assert main([command, str(path)]) == 0
    assert main(["verify", "--strict", str(path)]) == (0 if all(p.severity == "info" for p in tk.verify(again)) else 1)
    capsys.readouterr()


def test_a_healthy_model_has_no_problem(tmp_path: Path) -> None:
    """A control for the above: the model that is broken in these ways has no problem itself."""
    assert [p for p in tk.verify(generated.many_operators(8)) if p.severity != "info"] == []
