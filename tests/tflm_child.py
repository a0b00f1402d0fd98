"""The child process behind `tests.tflm`: runs one model, read from standard input, in TensorFlow Lite Micro."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any


def main() -> None:
    """A pickle of (model, inputs by position, bytes of the arena) comes in; one of (message or None, outputs) goes out."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the library prints its errors to both
    job = pickle.load(sys.stdin.buffer)
    try:
        reply: tuple[str | None, list[Any]] = (None, run(*job))
    except Exception as error:  # the library raises its errors as RuntimeError and SystemError
        reply = (f"{type(error).__name__}: {error}", [])
    pickle.dump(reply, replies)
    replies.flush()


def run(model: bytes, inputs: dict[int, Any], arena: int) -> list[Any]:
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
    position = 0
    while True:
        try:
            details = interpreter.get_input_details(position)
        except Exception:
            break
        value = inputs.get(position)
        zeros = np.zeros(details["shape"], details["dtype"])
        interpreter.set_input(zeros if value is None else np.asarray(value, details["dtype"]), position)
        position += 1
    interpreter.invoke()
    outputs = []
    while True:
        try:
            outputs.append(np.array(interpreter.get_output(len(outputs))))
        except Exception:
            return outputs


if __name__ == "__main__":
    main()
