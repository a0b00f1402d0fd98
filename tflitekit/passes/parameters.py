"""Setting quantization parameters of chosen tensors: what `set-quantization` does, and the table of parameters that it reads from a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import types
from .._schema import TensorType
from ..errors import EditError, InputError, RefusedError
from ..graph import Model, QuantizationParameters, Tensor
from ..quant.affine import float32_scale, rounded
from .base import Notes
from .bias import BiasKeeper

if TYPE_CHECKING:
    from .set_quantization import SetQuantization

KEEP_REAL, EACH, ONE = "real", "each", "one"
FORMAT = "tflitekit-parameters-1"


@dataclass(frozen=True)
class Wanted:
    """New parameters of a tensor; None leaves what it has. `zero_points` says how many are stored: "each" one for every scale, or "one" for all."""

    scale: tuple[float, ...] | None = None
    zero_point: tuple[int, ...] | None = None
    axis: int | None = None
    zero_points: str = ""


def parse_scales(text: str) -> tuple[float, ...] | None:
    """Scales from a text: decimal, hexadecimal ("0x1p-7") or fractions ("1/256"), separated by commas, each rounded to float32 once; "" is None."""
    return tuple(float(float32_scale(_exact(item))) for item in text.split(",")) if text else None


def _exact(text: str) -> float:
    """The float64 nearest to a number in any of the three notations; a fraction is rounded to float32 from its exact value by the caller."""
    word = text.strip()
    try:
        if "x" in word.lower():
            return float.fromhex(word)
        exponent = word.lower().rpartition("e")[2] if "e" in word.lower() else "0"
        if abs(int(exponent)) > 100:
            raise OverflowError  # before a number of that many digits is made
        return _once(Fraction(word))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise EditError(f"scale {text!r}: expected a number such as 0.0078125, 0x1p-7 or 1/128") from None


def _once(value: Fraction) -> float:
    """An exact number rounded to float32 once, half to even (through float64 it would be rounded twice)."""
    with np.errstate(over="ignore", under="ignore"):
        near = np.float32(float(value))
        candidates = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    if not np.isfinite(near):
        raise OverflowError
    return float(min((c for c in candidates if np.isfinite(c)), key=lambda c: (abs(Fraction(float(c)) - value), int(c.view(np.uint32)) & 1)))


def parse_zero_points(text: str) -> tuple[int, ...] | None:
    """Zero points from a text, separated by commas; "" is None."""
    if not text:
        return None
    try:
        return tuple(int(item) for item in text.split(","))
    except ValueError:
        raise EditError(f"zero point {text!r}: expected integers separated by commas") from None


def chosen(model: Model, names: Iterable[str]) -> list[Tensor]:
    """The tensors that the names, patterns or SUBGRAPH:INDEX pairs stand for, each once; EditError for one that matches nothing."""
    found: dict[Tensor, None] = {}
    for name in names:
        subgraph, colon, index = name.partition(":")
        exact = [tensor for tensor in model.tensors() if tensor.name_str == name]
        if exact:
            hits = exact
        elif colon and subgraph.isdecimal() and index.isdecimal():
            hits = [t for n, g in enumerate(model.subgraphs) if n == int(subgraph) for i, t in enumerate(g.tensors) if i == int(index)]
        else:
            hits = [tensor for tensor in model.tensors() if fnmatchcase(tensor.name_str, name)]
        if not hits:
            from difflib import get_close_matches

            near = get_close_matches(name, [tensor.name_str for tensor in model.tensors()], 1)
            raise EditError(f"no tensor is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ". `tensors` lists them"))
        found |= dict.fromkeys(hits)
    return list(found)


def choice_of(model: Model, tensor: Tensor) -> str:
    """What stands for a tensor, and for no other, in `chosen`: its name, or SUBGRAPH:INDEX where others have that too, or it cannot be typed."""
    name = tensor.name_str
    if name and name.isprintable() and sum(other.name_str == name for other in model.tensors()) == 1:
        return name
    return next(f"{n}:{i}" for n, subgraph in enumerate(model.subgraphs) for i, other in enumerate(subgraph.tensors) if other is tensor)


def set_parameters(options: SetQuantization, model: Model, notes: Notes) -> None:
    """Set the parameters of all tensors that were chosen, then encode the biases that depend on them again where real values are to stay.

    Where real values are to stay, biases come last: by then they follow their operators, and only what is asked for beyond that changes them.
    """
    if options.from_ is not None:
        targets = from_table(model, options.from_)
    else:
        wanted = Wanted(parse_scales(options.scale), parse_zero_points(options.zero_point), options.axis, options.zero_points)
        targets = [(tensor, wanted) for tensor in chosen(model, options.tensor)]
    real = options.keep == KEEP_REAL
    biases = BiasKeeper(model)
    if real:
        held = {use.tensor for use in biases.before}
        for tensor, wanted in targets:
            if tensor not in held:
                _set(model, tensor, wanted, real, notes)
        biases.restore(notes)
        for tensor, wanted in targets:
            if tensor in held and _set(model, tensor, wanted, real, notes):
                notes.remark(tensor, "kernels take its codes for input scale x weight scale, whatever its own scale is")
        return
    touched = [tensor for tensor, wanted in targets if _set(model, tensor, wanted, real, notes)]
    for use in biases.before:
        if any(tensor in touched for tensor in use.operator.inputs) and use.tensor not in touched:
            notes.remark(use.tensor, f"bias of {use.operator.op_name}: its codes mean input scale x weight scale, which changed with the parameters")


def _set(model: Model, tensor: Tensor, wanted: Wanted, real: bool, notes: Notes) -> bool:
    old = tensor.quantization
    limits = types.INTEGER_RANGES.get(tensor.type)
    if limits is None:
        raise RefusedError(f"tensor {tensor.name_str!r} is {tensor.type.name}: real values, not codes. requantize-weights makes codes of them")
    if old is not None and old.details is not None:
        raise RefusedError(f"tensor {tensor.name_str!r} is quantized {old.kind}, which has no scale and zero point of its own")
    scale, zero_point, axis = _resolved(tensor, old, wanted, limits)
    made = QuantizationParameters(scale=scale, zero_point=zero_point, quantized_dimension=axis)
    same = old is not None and old.scale.tobytes() == made.scale.tobytes() and old.zero_point.tobytes() == made.zero_point.tobytes()
    if same and old is not None and old.quantized_dimension == axis:
        notes.remark(tensor, "has these parameters already")
        return False
    text = _shown(made)
    data: dict[str, Any] = {"scale": [float(s) for s in scale], "zero_point": [int(z) for z in zero_point], "axis": axis}
    if real and tensor.is_constant and old is not None and len(old.scale):
        error, clipped = encoded_again(model, tensor, old, made)
        data |= {"max_error": error, "clipped": clipped}
        text += f"; data encoded again, error at most {error:.3g}" + (f", {clipped} values clipped" if clipped else "")
    if old is not None:
        _carry_range(tensor, old, made, real)
        changed = old.quantized_dimension != axis
        old.scale, old.zero_point = made.scale, made.zero_point
        if changed:
            old.quantized_dimension = axis
    else:
        tensor.quantization = made
    notes.changed(tensor, text, **data)
    return True


def _resolved(
    tensor: Tensor, old: QuantizationParameters | None, wanted: Wanted, limits: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    """Scale, zero point and axis as they will be stored; EditError for what does not fit the tensor."""
    where = f"tensor {tensor.name_str!r}"
    scale = np.asarray(wanted.scale if wanted.scale is not None else old.scale if old is not None else (), np.float32)
    if not len(scale):
        raise EditError(f"{where} has no scale yet: give one")
    axis = wanted.axis if wanted.axis is not None else old.quantized_dimension if old is not None else 0
    if tensor.shape and not 0 <= axis < len(tensor.shape) and (wanted.axis is not None or len(scale) > 1):
        raise EditError(f"{where}: axis {axis}, expected 0 to {len(tensor.shape) - 1} for shape {list(tensor.shape)}")
    if len(scale) > 1 and (not tensor.shape or len(scale) != tensor.shape[axis]):
        fit = f"{tensor.shape[axis]} along axis {axis} of {list(tensor.shape)}" if tensor.shape else "one"
        raise EditError(f"{where}: {len(scale)} scales, expected one or {fit}")
    stored = tuple(old.zero_point.tolist()) if old is not None else ()
    given = wanted.zero_point if wanted.zero_point is not None else stored or (0,)
    if len(set(given)) == 1:
        stays_one = not wanted.zero_points and wanted.zero_point is None and old is not None and len(stored) == 1 < len(old.scale)
        given = given[:1] * (1 if wanted.zero_points == ONE or stays_one else len(scale))
    elif wanted.zero_points == ONE:
        raise EditError(f"{where}: its zero points differ, so one cannot stand for all")
    if len(given) not in (1, len(scale)):
        raise EditError(f"{where}: {len(given)} zero points for {len(scale)} scales")
    low, high = limits[0], min(limits[1], types.INTEGER_RANGES[TensorType.INT64][1])  # a zero point is stored as INT64
    outside = [z for z in given if not low <= z <= high]
    if outside:
        raise EditError(f"{where}: zero point {outside[0]} is no code of {tensor.type.name} ({low} to {high})")
    return scale, np.asarray(given, np.int64), axis


def _along(values: npt.NDArray[Any], tensor: Tensor, axis: int) -> npt.NDArray[np.float64]:
    """Parameters shaped to multiply with the tensor's values."""
    wide = values.astype(np.float64)
    if len(wide) < 2:
        return wide.reshape(()) if len(wide) else np.float64(0) * np.zeros(())
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    return wide.reshape(shape)


def fits(tensor: Tensor, q: QuantizationParameters) -> bool:
    """Whether parameters say what every code of a tensor means: finite scales, one or one for each slice, and zero points likewise."""
    lengths = {1, tensor.shape[q.quantized_dimension]} if 0 <= q.quantized_dimension < len(tensor.shape) else {1}
    sound = bool((np.isfinite(q.scale) & (q.scale >= 0)).all())
    return sound and len(q.scale) in lengths and len(q.zero_point) in {0, 1, len(q.scale)}


def encoded_again(model: Model, tensor: Tensor, old: QuantizationParameters, new: QuantizationParameters) -> tuple[float, int]:
    """Store codes that mean at `new` what the stored ones mean at `old`; returns (largest error in real values, values clipped).

    Computed in float64, rounded half away from zero. RefusedError where the stored ones have no meaning.
    """
    if not fits(tensor, old):
        raise RefusedError(
            f"tensor {tensor.name_str!r}: its {len(old.scale)} scales and {len(old.zero_point)} zero points give its codes no real values. "
            "--keep codes sets others"
        )
    codes = tensor.numpy()
    real = (codes.astype(np.float64) - _along(old.zero_point, tensor, old.quantized_dimension)) * _along(old.scale, tensor, old.quantized_dimension)
    step, zero = _along(new.scale, tensor, new.quantized_dimension), _along(new.zero_point, tensor, new.quantized_dimension)
    low, high = types.INTEGER_RANGES[tensor.type]
    wanted = rounded(real / step) + zero
    top = float(high) if int(float(high)) <= high else np.nextafter(float(high), 0.0)  # the highest INT64 is no float64
    stored = np.clip(wanted, low, top)
    model.set_data(tensor, stored.astype(np.int64) if types.BITS[tensor.type] < 8 else stored.astype(codes.dtype))
    return float(np.max(np.abs((stored - zero) * step - real), initial=0.0)), int((stored != wanted).sum())


def _carry_range(tensor: Tensor, old: QuantizationParameters, new: QuantizationParameters, real: bool) -> None:
    """Stored min and max follow the codes where those keep, and go where they no longer fit."""
    if real or not (len(old.min) or len(old.max)):
        return
    for attribute in ("min", "max"):
        values = getattr(old, attribute)
        if not len(values):
            continue
        counts = {len(old.zero_point) or 1, len(new.zero_point)}
        if len(old.scale) == len(new.scale) == len(values) and counts <= {1, len(values)} and (old.scale > 0).all():
            code = values.astype(np.float64) / old.scale + (old.zero_point if len(old.zero_point) else 0)
            with np.errstate(over="ignore"):
                setattr(old, attribute, ((code - new.zero_point) * new.scale).astype(np.float32))
        else:
            setattr(old, attribute, None)


def _shown(q: QuantizationParameters) -> str:
    if len(q.scale) == 1:
        return f"stored scale {float(q.scale[0])!r} ({float(q.scale[0]).hex()}), zero point {int(q.zero_point[0])}"
    zero = f"zero point {int(q.zero_point[0])}" if len(set(q.zero_point.tolist())) == 1 else f"{len(q.zero_point)} zero points"
    return f"stored {len(q.scale)} scales {float(q.scale.min())!r} to {float(q.scale.max())!r} along axis {q.quantized_dimension}, {zero}"


# ---- tables of parameters in files ----


def table(model: Model, tensors: Iterable[Tensor]) -> list[dict[str, Any]]:
    """The parameters of quantized tensors as plain data: subgraph, index, name, type, scale, zero_point, axis. Floats keep every digit."""
    wanted, rows = set(tensors), []
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            q = tensor.quantization
            if tensor in wanted and q is not None and len(q.scale) and q.details is None:
                rows.append({
                    "subgraph": number, "index": index, "name": tensor.name_str, "type": tensor.type.name,
                    "scale": q.scale.astype(float).tolist(), "zero_point": q.zero_point.tolist(), "axis": q.quantized_dimension,
                })  # fmt: skip
    return rows


def encode_table(rows: Sequence[dict[str, Any]], suffix: str) -> bytes:
    """The bytes of a table file: `.json`, where floats have the shortest text that gives them back, or `.npz`, where they keep their bits."""
    if suffix == ".json":
        return (json.dumps({"format": FORMAT, "tensors": list(rows)}, indent=1) + "\n").encode()
    if suffix != ".npz":
        raise EditError(f"expected a file name ending in .json or .npz, got {suffix!r}")
    import io

    names = [json.dumps([row[key] for key in ("subgraph", "index", "name", "type", "axis")]) for row in rows]
    arrays: dict[str, npt.NDArray[Any]] = {"names": np.array(names)}
    for row in rows:
        key = f"{row['subgraph']}.{row['index']}"
        arrays[f"{key}.scale"] = np.array(row["scale"], np.float32)
        arrays[f"{key}.zero_point"] = np.array(row["zero_point"], np.int64)
    target = io.BytesIO()
    np.savez(target, **arrays)  # type: ignore[arg-type]
    return target.getvalue()


class ParameterTable(tuple[dict[str, Any], ...]):
    """The rows of a table file; as text it is the name of the file."""

    name: str

    def __str__(self) -> str:
        return self.name


def read_table(name: str) -> ParameterTable:
    """The rows of a table file; InputError for a file that cannot be read or is none."""
    path = Path(name)
    try:
        if path.suffix == ".npz":
            return _named(_npz_rows(path), name)
        found = json.loads(path.read_text())
        rows = found["tensors"] if isinstance(found, dict) else found
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TypeError("no list of tensors")
        return _named(rows, name)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except Exception as error:  # of numpy, zipfile and json, and of tables that lack something
        raise InputError(f"{name}: not a table of parameters as `tensors --export` writes it ({error})") from None


def _named(rows: Iterable[dict[str, Any]], name: str) -> ParameterTable:
    made = ParameterTable(rows)
    made.name = name
    return made


def _npz_rows(path: Path) -> Iterable[dict[str, Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        for entry in arrays["names"]:
            subgraph, index, name, type_, axis = json.loads(str(entry))
            key = f"{subgraph}.{index}"
            yield {
                "subgraph": subgraph, "index": index, "name": name, "type": type_, "axis": axis, "scale": arrays[f"{key}.scale"].tolist(),
                "zero_point": arrays[f"{key}.zero_point"].tolist(),
            }  # fmt: skip


def from_table(model: Model, rows: Iterable[dict[str, Any]]) -> list[tuple[Tensor, Wanted]]:
    """The tensors of a table with their new parameters. Rows are matched by subgraph and index, and the name must agree, or by name alone."""
    found = []
    for row in rows:
        tensor = _row_tensor(model, row)
        try:
            scale = tuple(_scale_of(value) for value in _list(row.get("scale"))) or None
            zero_point = tuple(_integer(value) for value in _list(row.get("zero_point"))) or None
            axis = None if row.get("axis") is None else _integer(row["axis"])
        except (TypeError, ValueError) as error:
            raise EditError(f"tensor {tensor.name_str!r}: {error}") from None
        stored_one = zero_point is not None and scale is not None and len(zero_point) == 1 < len(scale)
        found.append((tensor, Wanted(scale, zero_point, axis, ONE if stored_one else "")))
    return found


def _row_tensor(model: Model, row: dict[str, Any]) -> Tensor:
    if "index" not in row:
        return chosen(model, [str(row.get("name", ""))])[0]
    try:
        number, index = _integer(row.get("subgraph", 0)), _integer(row["index"])
        if min(number, index) < 0:
            raise IndexError
        tensor = model.subgraphs[number].tensors[index]
    except (IndexError, TypeError, ValueError):
        raise EditError(f"subgraph {row.get('subgraph', 0)} has no tensor {row['index']}") from None
    if "name" in row and row["name"] != tensor.name_str:
        raise EditError(f"tensor {row['index']} of subgraph {row.get('subgraph', 0)} is {tensor.name_str!r}, the table says {row['name']!r}")
    return tensor


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _integer(value: Any) -> int:
    """An integer of a table; ValueError for what is none, since rounding it would be a guess."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"expected an integer, got {value!r}")
    return int(value)


def _scale_of(value: Any) -> float:
    return float(float32_scale(_exact(value) if isinstance(value, str) else float(value)))
