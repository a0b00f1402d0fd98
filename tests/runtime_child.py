"""The child process behind `tests.runtime`: runs models in the LiteRT interpreter until its standard input ends.

Frames in both directions are a little-endian uint32 length and that many bytes of pickle. Native code prints to standard output, so the replies go to
a duplicate of it and descriptor 1 becomes standard error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import resource
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

WORDS = [b"good", b"bad movie", b"", b"how are you", b"\xc3\xa4 1234", b"tea"]


def make_input(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...], recipe: int) -> Any:
    """Values of the input's own type.

    Recipe 0: the whole range of narrow types, 0 and 1 for wide integers, which often index; 1: 0 and 1; 2: ones; 3: zeros.
    """
    kind = np.dtype(dtype).kind if dtype is not np.bytes_ else "S"
    if kind in "SO":
        words = [WORDS[i] for i in rng.integers(0, len(WORDS), int(np.prod(shape)))]
        # a scalar as fixed-width bytes: the binding takes the pointer in an object array of rank 0 for the text
        return np.array(words, dtype=object).reshape(shape) if shape else np.array(words[0] or b"word")
    if recipe >= 2:
        return np.full(shape, 3 - recipe, dtype)
    if kind == "b" or (kind in "iu" and (recipe == 1 or np.dtype(dtype).itemsize >= 4)):
        return rng.integers(0, 2, shape).astype(dtype)
    if kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, int(info.max) + 1, shape).astype(dtype)
    if kind == "c":
        return (rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)).astype(dtype)
    return rng.uniform(-1, 1, shape).astype(dtype)


def flatten(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    """An output as dtype, shape and exact bytes; strings with their lengths, so that no two lists of strings look alike."""
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        items = [v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1).tolist()]
        return "string", array.shape, b"".join(struct.pack("<I", len(v)) + v for v in items)
    return array.dtype.str, array.shape, array.tobytes()


def run_signature(interpreter: Any, job: dict[str, Any], rng: Any, recipe: int) -> list[Any]:
    """Run one signature on inputs by name; its outputs in the order of their names."""
    runner = interpreter.get_signature_runner(job["signature"])
    values = {}
    for name, detail in sorted(runner.get_input_details().items()):
        given = (job["inputs"] or {}).get(name)
        values[name] = make_input(rng, detail["dtype"], tuple(detail["shape"]), recipe) if given is None else given
    return [flatten(value) for _, value in sorted(runner(**values).items())]


def digests(interpreter: Any) -> dict[int, str]:
    """A digest of every tensor of subgraph 0 that has values, by index."""
    found = {}
    for detail in interpreter.get_tensor_details():
        with contextlib.suppress(ValueError, TypeError):
            kind, shape, content = flatten(interpreter.get_tensor(detail["index"]))
            found[detail["index"]] = hashlib.blake2b(f"{kind} {shape} ".encode() + content, digest_size=8).hexdigest()
    return found


def run(job: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Build the interpreter, feed seeded inputs and return the outputs of subgraph 0."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = getattr(OpResolverType, job["resolver"])
    model = job["model"]
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    result: dict[str, Any] = {}
    for recipe in [job["recipe"]] if job["recipe"] is not None else range(4):
        progress(recipe)
        try:
            kept = bool(job.get("digests"))
            interpreter = Interpreter(
                experimental_op_resolver_type=resolver, num_threads=1, experimental_preserve_all_tensors=kept, **source
            )
            interpreter.allocate_tensors()
            result = {"status": "error", "recipe": recipe}
            rng = np.random.default_rng(job["seed"])
            if job.get("signature") is not None:
                return {"status": "ok", "recipe": recipe, "outputs": run_signature(interpreter, job, rng, recipe), "message": ""}
            for position, detail in enumerate(interpreter.get_input_details()):
                given = (job["inputs"] or {}).get(position)
                value = make_input(rng, detail["dtype"], tuple(detail["shape"]), recipe) if given is None else given
                interpreter.set_tensor(detail["index"], value)
            interpreter.invoke()
            outputs = [flatten(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]
            result = {"status": "ok", "recipe": recipe, "outputs": outputs, "message": ""}
            return {**result, "digests": digests(interpreter)} if kept else result
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            refused = not result  # before any input was set: other inputs cannot help
            result = {"status": "error", "message": f"{type(error).__name__}: {error}", "recipe": recipe, "outputs": []}
            if refused:
                return result
    return result


def inspect(job: dict[str, Any]) -> dict[str, Any]:
    """Run frames one after the other without delegates; return the outputs and the asked tensors, all preserved, after the last."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=job["model"], experimental_op_resolver_type=getattr(OpResolverType, job["resolver"]), num_threads=1,
            experimental_preserve_all_tensors=True,
        )  # fmt: skip
        interpreter.allocate_tensors()
        values: list[Any] = []
        for frame in job["frames"]:
            if job["signature"] is not None:
                found = interpreter.get_signature_runner(job["signature"])(**frame)
                values = [found[name] for name in sorted(found)]
                continue
            for position, detail in enumerate(interpreter.get_input_details()):
                interpreter.set_tensor(detail["index"], frame[position])
            interpreter.invoke()
            values = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        values += [interpreter.get_tensor(index, subgraph) for subgraph, index in job["tensors"]]
        return {"status": "ok", "recipe": 0, "outputs": [flatten(value) for value in values], "message": ""}
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        return {"status": "error", "message": f"{type(error).__name__}: {error}", "recipe": 0, "outputs": []}


def read_frame(stream: BinaryIO) -> Any:
    """The next job, or None at the end."""
    head = stream.read(4)
    return pickle.loads(stream.read(struct.unpack("<I", head)[0])) if len(head) == 4 else None


def main() -> None:
    """Answer jobs one by one. A reply with `status` "started" comes before each attempt, so that the parent knows what a crash interrupted."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(value: Any) -> None:
        body = pickle.dumps(value)
        out.write(struct.pack("<I", len(body)) + body)
        out.flush()

    while (job := read_frame(sys.stdin.buffer)) is not None:
        if job.get("frames") is not None:
            send(inspect(job))
            continue
        send(run(job, lambda recipe: send({"status": "started", "recipe": recipe})))


if __name__ == "__main__":
    main()
