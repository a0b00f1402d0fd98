"""Inputs as callers see them: quantized for numbers that are usual, and as the metadata says that they are to be made."""

from __future__ import annotations

from collections.abc import Iterator

from ..._described import count_problems, declares_image, described, is_image, normalization_options
from ..._metadata_schema import TensorMetadata
from ..._schema import TensorType
from ...graph import SubGraph, Tensor
from ...quant.affine import Affine
from ...quant.normalization import Normalization, agreement
from ...quant.preprocessing import PREPROCESSINGS, deviation
from ..ends import affine_of
from ..findings import INFO, WARNING, Finding, Scene

# So many LSB off every usual preprocessing, an input is told. Calibration on real images moves an end of the range by a few.
UNUSUAL = 8.0
NEAR = 40.0  # LSB: farther off than this, the nearest usual one is no hint
# An image of so many times its shorter side is rather a spectrogram, as is one of fewer pixels than this on a side.
LONGEST_ASPECT, FEWEST_PIXELS = 2.5, 16
# No preprocessing makes numbers larger than this of image bytes: std and scale were mixed up.
LARGEST = 1e3
_BYTES = frozenset({TensorType.UINT8, TensorType.INT8})


def inputs(scene: Scene) -> Iterator[Finding]:
    """Q502, Q902 to Q906, for the inputs and outputs of the first subgraph, or of every one that the metadata describes."""
    metadata = scene.metadata
    if scene.problem is not None:
        yield Finding("Q906", WARNING, "metadata", "", scene.problem, found="damaged", expected="a flatbuffer M001")
    if metadata is not None:
        for problem in count_problems(scene.model, metadata):
            yield Finding("Q902", WARNING, "metadata", "", problem.message, found=problem.listed, expected=problem.actual)
    for number, subgraph in scene.subgraphs():
        if number and metadata is None:
            break
        for tensor in dict.fromkeys(t for t in subgraph.inputs if t is not None):
            about = described(scene.model, metadata, subgraph, "input", tensor)
            if about is not None or number == 0:
                yield from _input(scene, subgraph, tensor, about)


def _input(scene: Scene, subgraph: SubGraph, tensor: Tensor, about: TensorMetadata | None) -> Iterator[Finding]:
    affine = affine_of(tensor) or _inside(subgraph, tensor)
    options = normalization_options(about)
    stated = None if options is None else Normalization(tuple(options.mean), tuple(options.std))
    if stated is None:
        if declares_image(about) and tensor.type == TensorType.FLOAT32:
            yield scene.finding("Q905", tensor, "an image of floats without normalization", INFO, found="none", expected="mean and std")
    elif is_image(tensor, about):
        reason = stated.problem(tensor.shape[-1] if tensor.shape else None)
        if reason is not None:
            shown = f"mean {list(stated.mean)}, std {list(stated.std)}"
            yield scene.finding("Q904", tensor, f"{reason} ({shown})", WARNING, found=shown, expected="a mean and a std, or one of each a channel")
        elif affine is not None:
            found = agreement(affine, stated)
            if found.verdict != "contradicts":
                return  # what it stands for is stated, and fits
            message, bounds = found.contradiction(affine, stated), (tuple(affine.range()), tuple(stated.range()))
            yield scene.finding("Q903", tensor, message, WARNING, found=bounds[0], expected=bounds[1])
    if affine is not None and affine.type in _BYTES and _looks_like_image(tensor, about):
        yield from _statistics(scene, tensor, affine)


def _inside(subgraph: SubGraph, tensor: Tensor) -> Affine | None:
    """What a float input is quantized to where nothing else reads it."""
    if tensor.type != TensorType.FLOAT32:
        return None
    readers = [o for o in subgraph.operators if any(t is tensor for t in o.inputs)]
    target = readers[0].outputs[0] if len(readers) == 1 and readers[0].op_name == "QUANTIZE" and readers[0].outputs else None
    return None if target is None else affine_of(target)


def _looks_like_image(tensor: Tensor, about: TensorMetadata | None) -> bool:
    declared = declares_image(about)
    if declared is not None:
        return declared
    if not is_image(tensor, about):
        return False
    short, long = sorted(tensor.shape[-3:-1])
    return short >= FEWEST_PIXELS and long <= LONGEST_ASPECT * short


def _statistics(scene: Scene, tensor: Tensor, affine: Affine) -> Iterator[Finding]:
    """Q502: parameters that no usual preprocessing of images gives."""
    off, nearest = min(((deviation(affine, candidate), candidate) for candidate in PREPROCESSINGS), key=lambda pair: pair[0])
    if off <= UNUSUAL:
        return
    low, high = affine.range()
    mean, std = affine.mean_std()
    near = f"the nearest usual one, {nearest.name}, is {off:.3g} steps off" if off <= NEAR else "nothing usual is near that"
    message = f"(mean, std) = ({mean:g}, {std:.6g}) and real values [{low:.6g}, {high:.6g}]; {near}"
    severity = INFO
    if max(-low, high) > LARGEST:
        severity, message = WARNING, f"{message}. Perhaps std was given as scale: 1/std is {1 / std:.6g}"
    expected = f"(mean, std) = ({nearest.mean:g}, {nearest.std:g}): {nearest.formula}" if off <= NEAR else "what the model was trained on"
    yield scene.finding("Q502", tensor, message, severity, found=(mean, std), expected=expected)
