"""Where the values of inputs come from: arrays, files, images, or a seed. All become real values, which each model encodes for itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import types
from .._schema import TensorType
from ..errors import EditError, InputError
from .codes import REAL_TYPES, Array, Codes
from .interface import Port

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
NEEDS_PILLOW = "reading images needs Pillow: pip install pillow"
WIDE = 4  # bytes: plain integers of this size and more often index, so they are drawn as 0 or 1
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Slot:
    """An input as all models under test have it: `ports` has one for each of them."""

    name: str
    ports: tuple[Port, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first model, with dynamic dimensions filled in."""
        return self.ports[0].shape

    @property
    def is_real(self) -> bool:
        """Whether real values are fed; else integers or booleans as they are."""
        return any(port.is_real for port in self.ports)

    def feed(self, values: Array, which: int) -> Array:
        """The values as model number `which` wants them. EditError where they do not fit."""
        port = self.ports[which]
        if port.codes is not None and self.is_real:
            return port.codes.encode(values)
        dtype = types.numpy_dtype(port.tensor.type)
        with np.errstate(invalid="ignore", over="ignore"):
            plain = values.astype(dtype)
        if port.tensor.type in REAL_TYPES:
            return plain
        if not np.array_equal(plain.astype(np.float64), values.astype(np.float64)):
            raise EditError(f"input {self.name!r} is {port.tensor.type.name} without scale, and the values given are no such integers")
        return plain


@dataclass
class Sample:
    """The values of all inputs, in the order of the slots, where they are from, and how each was read."""

    values: list[Array]
    origin: str = ""
    how: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RandomData:
    """`count` samples from a seed, drawn in real values so that models with different types of inputs get the same.

    An input that some model quantizes is drawn from all codes of the coarsest claim that every claim can hold; each model then has a code for every
    value, or one next to it. A float input that a QUANTIZE reads claims what that QUANTIZE does. Without any claim: uniform in `bounds`. Integers
    without scale are drawn from their whole type if it has less than 32 bits, else 0 or 1, as they often index. The first sample spreads over the
    whole range, each other over a random part of it: samples that all look alike from afar would hardly change an output.
    """

    count: int = 4
    seed: int = 0
    bounds: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.bounds
        if self.count < 1:
            raise EditError(f"{self.count} random samples: at least 1 is needed")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise EditError(f"range {low:g} to {high:g}: the first must be less than the second")

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """The samples; the same for the same seed and inputs."""
        random = np.random.default_rng(self.seed)
        for number in range(self.count):
            drawn = [self._draw(slot, random, number > 0) for slot in slots]
            yield Sample([value for value, _ in drawn], f"random {number}", [how for _, how in drawn])

    def _draw(self, slot: Slot, random: np.random.Generator, part: bool) -> tuple[Array, str]:
        """The values, from the whole range or a `part` of it, and how they were drawn."""
        if not slot.is_real:
            return _draw_plain(slot, random)
        claims = [port.grid for port in slot.ports if port.grid is not None]
        if not claims:
            bounds = sorted(random.uniform(*self.bounds, 2).tolist()) if part else self.bounds
            how = f"random in {self.bounds[0]:g} to {self.bounds[1]:g}: no claim"
            return random.uniform(bounds[0], bounds[1], slot.shape).astype(np.float32), how
        grid = max(claims, key=lambda codes: codes.step)
        low = max(codes.range()[0] for codes in claims)
        high = min(codes.range()[1] for codes in claims)
        first, last = _codes_within(grid, low, high)
        lowest, highest = sorted(random.integers(first, last + 1, 2).tolist()) if part else (first, last)
        values = grid.decode(random.integers(lowest, highest + 1, slot.shape))
        return values, f"random codes of {grid.type.name}, scale {grid.step:.6g}: {float(low):.6g} to {float(high):.6g}"


def _codes_within(grid: Codes, low: float, high: float) -> tuple[int, int]:
    """The codes of the grid whose values are within the bounds; all of them, if none is."""
    scale, zero_point = float(grid.scale.reshape(-1)[0]), int(grid.zero_point.reshape(-1)[0])
    slack = 1e-6
    first = max(math.ceil(low / scale - slack) + zero_point, grid.limits[0])
    last = min(math.floor(high / scale + slack) + zero_point, grid.limits[1])
    return (first, last) if first <= last else grid.limits


def _draw_plain(slot: Slot, random: np.random.Generator) -> tuple[Array, str]:
    """Integers or booleans that every model's type holds."""
    limits = [(0, 1) if p.tensor.type == TensorType.BOOL else types.INTEGER_RANGES[p.tensor.type] for p in slot.ports]
    narrow = all(types.BITS[port.tensor.type] < 8 * WIDE for port in slot.ports)
    low, high = (max(a for a, _ in limits), min(b for _, b in limits)) if narrow else (0, 1)
    return random.integers(low, high + 1, slot.shape), f"random integers from {low} to {high}"


@dataclass(frozen=True)
class ArrayData:
    """Samples in memory: arrays, or mappings from the names of inputs (or "0", "1", .. for their positions) to arrays.

    A further leading dimension, or a first dimension where the input has 1, counts samples. Floating point values are real values. Integers of the
    type that a quantized input of the first such model has are its codes; with `mean` and `std` all values x are real = (x - mean) / std; other
    integers are real values. At most `limit` samples are used.
    """

    arrays: Iterable[Any]
    mean: float | None = None
    std: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_normalization(self.mean, self.std, self.limit)

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """The samples in order. EditError for arrays that do not fit."""
        return _limited(self, ((f"array {number}", value) for number, value in enumerate(self.arrays)), slots)


@dataclass(frozen=True)
class FileData:
    """Samples in files: `.npz` with arrays named like the inputs (see ArrayData), `.npy`, and images for models with one input; folders of these.

    An image is converted to the input's number of channels and stretched to its height and width (bilinear). Its pixels are real = (x - mean) / std;
    without these, the codes of the first model with an 8-bit input (int8: x - 128), else real values by `stated`, the (mean, std) that the metadata
    of a model with a float input gives. Images need Pillow.
    """

    paths: Sequence[str | os.PathLike[str]]
    mean: float | None = None
    std: float | None = None
    limit: int | None = None
    stated: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check_normalization(self.mean, self.std, self.limit)
        if not self.paths:
            raise EditError("no data files were given")

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """The samples in order, read one file at a time. InputError for files that cannot be read, EditError for those that do not fit."""
        return _limited(self, ((path.name, _load(path, slots)) for path in self._files()), slots)

    def _files(self) -> Iterator[Path]:
        for given in map(Path, self.paths):
            if not given.is_dir():
                yield given
                continue
            inside = sorted(path for path in given.iterdir() if path.suffix.lower() in IMAGES | {".npy", ".npz"})
            if not inside:
                raise EditError(f"{given}: no .npz, .npy or image in this folder")
            yield from inside


Data = RandomData | ArrayData | FileData


def _check_normalization(mean: float | None, std: float | None, limit: int | None) -> None:
    if (mean is None) != (std is None):
        raise EditError("--mean and --std go together: real = (x - mean) / std")
    if std is not None and not (math.isfinite(std) and std > 0 and math.isfinite(mean or 0.0)):
        raise EditError(f"mean {mean}, std {std}: std must be positive, and both finite")
    if limit is not None and limit < 1:
        raise EditError(f"{limit} samples: at least 1 is needed")


@dataclass(frozen=True)
class _Picture:
    """Pixels of an image, of the shape of the input, and what was done to get there."""

    pixels: Array
    how: str


def _limited(data: ArrayData | FileData, items: Iterable[tuple[str, Any]], slots: Sequence[Slot]) -> Iterator[Sample]:
    count = 0
    for origin, value in items:
        for sample in _split(origin, _by_slot(origin, value, slots), slots, data):
            if count == data.limit:
                return
            count += 1
            yield sample
    if not count:
        raise EditError("the data hold no sample")


def _by_slot(origin: str, value: Any, slots: Sequence[Slot]) -> list[Any]:
    """The arrays in the order of the slots."""
    if not isinstance(value, Mapping):
        if len(slots) != 1:
            names = ", ".join(repr(slot.name) for slot in slots)
            raise EditError(f"{origin}: the model has {len(slots)} inputs ({names or 'none'}); give an .npz with arrays of these names")
        return [value]
    if len(slots) == 1 and len(value) == 1:
        return list(value.values())
    found = []
    for position, slot in enumerate(slots):
        called = [slot.name, *(port.tensor.name_str for port in slot.ports), str(position), f"arr_{position}"]
        name = next((name for name in called if name in value), None)
        if name is None:
            raise EditError(f"{origin}: no array for input {slot.name!r}; it holds {', '.join(map(repr, value)) or 'none'}")
        found.append(value[name])
    return found


def _split(origin: str, arrays: list[Any], slots: Sequence[Slot], data: ArrayData | FileData) -> Iterator[Sample]:
    """One sample after the other, in real values."""
    parts = []
    for array, slot in zip(arrays, slots, strict=True):
        picture = array if isinstance(array, _Picture) else None
        raw = np.asarray(array.pixels if isinstance(array, _Picture) else array)
        if raw.dtype.kind not in "fiub":
            raise EditError(f"{origin}: input {slot.name!r}: expected numbers, got an array of {raw.dtype}")
        parts.append((_as_samples(origin, raw, slot), picture))
    counts = {len(samples) for samples, _ in parts}
    if len(counts) > 1:
        raise EditError(f"{origin}: the arrays hold different numbers of samples: {', '.join(str(len(samples)) for samples, _ in parts)}")
    count = counts.pop() if counts else 1
    for number in range(count):
        read = [_real(s[number], slot, data, p) for (s, p), slot in zip(parts, slots, strict=True)]
        yield Sample([value for value, _ in read], origin if count == 1 else f"{origin}[{number}]", [how for _, how in read])


def _as_samples(origin: str, array: Array, slot: Slot) -> Array:
    shape = slot.shape
    if array.shape == shape:
        return array[None]
    if array.shape[1:] == shape:
        return array
    if shape[:1] == (1,) and array.shape[1:] == shape[1:] and array.ndim == len(shape):
        return array[:, None]
    if shape[:1] == (1,) and array.shape == shape[1:]:
        return array[None, None]
    raise EditError(f"{origin}: input {slot.name!r} has the shape {list(shape)}, the array {list(array.shape)}")


def _real(array: Array, slot: Slot, data: ArrayData | FileData, picture: _Picture | None) -> tuple[Array, str]:
    """The values to feed, and in words how they were read."""
    after = "" if picture is None else f", {picture.how}"
    if not slot.is_real:
        return array, "as they are"
    if data.mean is not None and data.std is not None:
        return _normalized(array, data.mean, data.std, after)
    if array.dtype.kind != "f":
        for port in slot.ports:
            if port.codes is None:
                continue
            if picture is not None and port.tensor.type in (TensorType.UINT8, TensorType.INT8):
                shift = 0 if port.tensor.type == TensorType.UINT8 else -128
                return port.codes.decode(array.astype(np.int64) + shift), f"pixels as {port.tensor.type.name} codes{after}"
            if array.dtype == types.numpy_dtype(port.tensor.type):
                return port.codes.decode(array), f"{port.tensor.type.name} codes"
    if picture is not None and isinstance(data, FileData) and data.stated is not None:
        return _normalized(array, *data.stated, f" by the metadata{after}")
    if picture is not None:
        raise EditError(f"input {slot.name!r} takes real values; say with --mean and --std what pixels become: real = (pixel - mean) / std")
    return _float32(array), "real values"


def _normalized(array: Array, mean: float, std: float, after: str) -> tuple[Array, str]:
    return _float32((array.astype(np.float64) - mean) / std), f"real = (x - {mean:g}) / {std:g}{after}"


def _float32(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


# ---- files ----


def _load(path: Path, slots: Sequence[Slot]) -> Any:
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return _image(path, slots)
    if suffix not in (".npy", ".npz"):
        if not path.exists():
            raise InputError(f"{path}: no such file")
        raise EditError(f"{path}: expected .npz, .npy or an image ({', '.join(sorted(IMAGES))})")
    try:
        with path.open("rb") as file:
            if not file.peek(6).startswith((b"PK", b"\x93NUMPY")):  # numpy would take it for a pickle, and advise to load that
                raise InputError(f"{path} is no {suffix} file: numpy.save{'z' if suffix == '.npz' else ''} writes them")
            loaded = np.load(file, allow_pickle=False)
            return loaded if suffix == ".npy" else {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for damaged files
        raise InputError(f"{path}: cannot be read as {suffix}: {error}") from None


def _image(path: Path, slots: Sequence[Slot]) -> _Picture:
    try:
        from PIL import Image
    except ImportError:
        raise EditError(f"{path}: {NEEDS_PILLOW}") from None
    if len(slots) != 1:
        raise EditError(f"{path}: an image is for models with one input; this one has {len(slots)}")
    height, width, channels, planar = _layout(slots[0])
    try:
        with Image.open(path) as file:
            size, image = file.size, file.convert(MODES[channels])
            if size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image).reshape(height, width, channels)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise InputError(f"{path}: cannot be read as an image: {error}") from None
    how = f"{MODES[channels]}" + ("" if size == (width, height) else f", stretched from {size[0]}x{size[1]} to {width}x{height}")
    return _Picture((pixels.transpose(2, 0, 1) if planar else pixels)[None], how)


def _layout(slot: Slot) -> tuple[int, int, int, bool]:
    """Height, width, channels of an image input, and whether channels come first."""
    shape = slot.shape
    if len(shape) == 4 and shape[0] == 1 and shape[3] in MODES:
        return shape[1], shape[2], shape[3], False
    if len(shape) == 4 and shape[0] == 1 and shape[1] in MODES:
        return shape[2], shape[3], shape[1], True
    raise EditError(f"input {slot.name!r} of shape {list(shape)} takes no image: expected [1,height,width,channels] with 1, 3 or 4 channels")
