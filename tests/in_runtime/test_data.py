"""Samples from seeds, arrays, files and images, as real values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.errors import EditError, InputError
from tflitekit.runtime.data import ArrayData, Data, FileData, RandomData, Slot
from tflitekit.runtime.interface import interfaces, subject


def slot(type_: str = "FLOAT32", shape: tuple[int, ...] = (1, 4), scale: float | None = None, zero_point: int = 0, inner: Any = None) -> Slot:
    """An input; `inner` (scale, zero point) puts an int8 QUANTIZE behind it."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", shape, type_, None if scale is None else quantize(scale, zero_point))
    if inner is None:
        graph.output(graph.apply("ABS", [x], TensorSpec("y", shape, type_)))
    else:
        graph.output(graph.apply("QUANTIZE", [x], TensorSpec("y", shape, "INT8", quantize(*inner))))
    return Slot("x", interfaces(subject(tk.serialize(builder.build())))[0].inputs)


def both(*slots: Slot) -> Slot:
    return Slot("x", tuple(port for each in slots for port in each.ports))


def first(data: Data, *slots: Slot) -> Any:
    sample = next(iter(data.samples(slots)))
    return (*sample.values, *sample.how)


def values(data: Data, *slots: Slot) -> list[Any]:
    return [sample.values[0].tolist() for sample in data.samples(slots)]


# ---- random ----


def test_a_seed_gives_the_same_values() -> None:
    assert values(RandomData(3, 5), slot()) == values(RandomData(3, 5), slot()) != values(RandomData(3, 6), slot())
    assert len({tuple(v[0]) for v in values(RandomData(4), slot())}) == 4


def test_values_are_codes_of_the_coarsest_claim_within_all_claims() -> None:
    fine, coarse = slot("INT8", (1, 4000), 0.01, -20), slot("UINT8", (1, 4000), 0.02, 128)
    found, how = first(RandomData(), both(fine, coarse))
    assert "UINT8, scale 0.02" in how
    np.testing.assert_array_equal(fine.feed(found, 0), both(fine, coarse).feed(found, 0))
    for each in (fine, coarse):
        (port,) = each.ports
        assert port.codes is not None and port.codes.clipped(found) == 0
        np.testing.assert_allclose(port.codes.decode(port.codes.encode(found)), found, atol=1e-7)
    assert found.min() == pytest.approx(-1.08) and found.max() == pytest.approx(1.46)  # the ends of the int8 claim, on the grid of the other


def test_a_float_input_claims_what_its_quantize_does() -> None:
    found, how = first(RandomData(), slot(shape=(1, 4000), inner=(0.5, 0)))
    assert "scale 0.5: -64 to 63.5" in how
    assert (found.min(), found.max()) == (-64.0, 63.5)


def test_without_claim_the_bounds_count() -> None:
    found, how = first(RandomData(bounds=(0, 255)), slot(shape=(1, 4000)))
    assert 0 <= found.min() < 1 and 254 < found.max() <= 255 and "no claim" in how


@pytest.mark.parametrize(("type_", "low", "high"), [("INT32", 0, 1), ("INT64", 0, 1), ("UINT8", 0, 255), ("INT8", -128, 127), ("BOOL", 0, 1)])
def test_plain_integers(type_: str, low: int, high: int) -> None:
    found, _ = first(RandomData(), slot(type_, (1, 4000)))
    assert (found.min(), found.max()) == (low, high)


# ---- arrays ----


def test_samples_are_counted_by_a_leading_dimension() -> None:
    a = np.arange(12, dtype=np.float32)
    assert len(values(ArrayData([a[:4].reshape(1, 4)]), slot())) == 1
    assert values(ArrayData([a.reshape(3, 4)]), slot()) == a.reshape(3, 1, 4).tolist() == values(ArrayData([a.reshape(3, 1, 4)]), slot())
    assert values(ArrayData([a[:4]]), slot()) == [[[0, 1, 2, 3]]]
    assert len(values(ArrayData([a.reshape(3, 4)], limit=2), slot())) == 2
    with pytest.raises(EditError, match=r"has the shape \[1, 4\], the array \[6, 2\]"):
        values(ArrayData([a.reshape(6, 2)]), slot())


def test_floats_are_real_integers_of_the_inputs_type_are_codes() -> None:
    quantized = slot("UINT8", scale=0.5, zero_point=10)
    assert first(ArrayData([np.full((1, 4), 2.0)]), quantized)[0].tolist() == [[2.0] * 4]
    found, how = first(ArrayData([np.full((1, 4), 12, np.uint8)]), quantized)
    assert (found.tolist(), how) == ([[1.0] * 4], "UINT8 codes")
    found, how = first(ArrayData([np.full((1, 4), 12, np.int32)]), quantized)
    assert (found.tolist(), how) == ([[12.0] * 4], "real values")
    found, how = first(ArrayData([np.full((1, 4), 12, np.uint8)]), both(slot(), quantized))
    assert (found.tolist(), how) == ([[1.0] * 4], "UINT8 codes")
    found, how = first(ArrayData([np.full((1, 4), 12, np.uint8)], mean=10, std=4), quantized)
    assert (found.tolist(), how) == ([[0.5] * 4], "real = (x - 10) / 4")


def test_several_inputs_go_by_name_or_position() -> None:
    slots = [Slot("a", slot().ports), Slot("b", slot().ports)]
    ones, twos = np.ones((1, 4)), np.full((1, 4), 2.0)
    for names in (("a", "b"), ("0", "1"), ("arr_0", "arr_1")):
        (sample,) = ArrayData([dict(zip(names, (ones, twos), strict=True))]).samples(slots)
        assert [value.max() for value in sample.values] == [1, 2]
    with pytest.raises(EditError, match="no array for input 'b'; it holds 'a'"):
        list(ArrayData([{"a": ones}]).samples(slots))
    with pytest.raises(EditError, match="2 inputs"):
        list(ArrayData([ones]).samples(slots))
    with pytest.raises(EditError, match="different numbers of samples: 1, 2"):
        list(ArrayData([{"a": ones, "b": np.ones((2, 4))}]).samples(slots))


def test_what_an_integer_input_cannot_take() -> None:
    plain = slot("INT32")
    (sample,) = ArrayData([np.full((1, 4), 3.0)]).samples([plain])
    assert plain.feed(sample.values[0], 0).tolist() == [[3] * 4]
    with pytest.raises(EditError, match="no such integers"):
        plain.feed(np.array([[0.5] * 4]), 0)
    with pytest.raises(EditError, match="no such integers"):
        slot("BOOL").feed(np.array([[2] * 4]), 0)


@pytest.mark.parametrize("bad", [np.array([["a"] * 4]), np.array([[1j] * 4])])
def test_only_numbers(bad: Any) -> None:
    with pytest.raises(EditError, match="expected numbers"):
        values(ArrayData([bad]), slot())


@pytest.mark.parametrize("how", [{"mean": 1.0}, {"std": 1.0}, {"mean": 0.0, "std": 0.0}, {"mean": float("nan"), "std": 1.0}, {"limit": 0}])
def test_normalizations_that_make_no_sense(how: dict[str, Any]) -> None:
    with pytest.raises(EditError):
        ArrayData([], **how)


# ---- files ----


def test_files_and_folders(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.full((1, 4), 1.0))
    np.savez(tmp_path / "c.npz", x=np.full((2, 4), 2.0))
    (tmp_path / "notes.txt").write_text("none of this")
    found = list(FileData([tmp_path]).samples([slot()]))
    assert [(sample.origin, sample.values[0].max()) for sample in found] == [("b.npy", 1), ("c.npz[0]", 2), ("c.npz[1]", 2)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "no such file"), ("bad.npy", b"nothing", "is no .npy file"), ("worse.npy", b"\x93NUMPY\1", "cannot be read as .npy"),
        ("bad.npz", b"PK\3\4junk", "cannot be read as .npz"),
        ("notes.txt", b"text", "expected .npz, .npy or an image"), ("empty", "folder", "in this folder"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises((EditError, InputError), match=message):
        list(FileData([path]).samples([slot()]))


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="allow_pickle"):
        list(FileData([tmp_path / "evil.npy"]).samples([slot()]))


def test_an_image_without_pillow_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(EditError, match="needs Pillow: pip install pillow"):
        list(FileData([tmp_path / "a.png"]).samples([slot(shape=(1, 2, 2, 3))]))


def test_images_are_stretched_and_their_pixels_are_codes_or_normalized(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    path = tmp_path / "a.png"
    image.fromarray(pixels).save(path)
    shape = (1, 2, 5, 3)
    found, how = first(FileData([path]), slot("INT8", shape, 0.5, -128))
    assert how == "pixels as INT8 codes, RGB"
    np.testing.assert_array_equal(found, pixels[None] * 0.5)
    found, how = first(FileData([path], mean=127.5, std=127.5), slot(shape=shape))
    np.testing.assert_allclose(found, (pixels[None] - 127.5) / 127.5, atol=1e-6)
    found, _ = first(FileData([path], mean=0, std=1), slot(shape=(1, 3, 2, 5)))
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1)[None])
    found, how = first(FileData([path], mean=0, std=1), slot(shape=(1, 6, 5, 1)))
    assert found.shape == (1, 6, 5, 1) and how.endswith("L, stretched from 5x2 to 5x6")
    with pytest.raises(EditError, match="say with --mean and --std"):
        first(FileData([path]), slot(shape=shape))
    with pytest.raises(EditError, match="takes no image"):
        first(FileData([path]), slot())
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read as an image"):
        first(FileData([path]), slot(shape=shape))
