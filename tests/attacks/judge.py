"""Child process: says of each file in a pickle whether the C++ Verifier accepts it. Five bytes each: number, then 1, 0, or 2 (begun)."""

from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path


def main() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    files = pickle.loads(Path(sys.argv[1]).read_bytes())
    for number in range(int(sys.argv[2]), len(files)):
        say(number, 2)
        valid = True
        try:
            Interpreter(model_content=files[number], experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        except Exception as error:
            valid = "not a valid Flatbuffer" not in str(error)
        say(number, valid)


def say(number: int, verdict: int) -> None:
    sys.stdout.buffer.write(struct.pack("<IB", number, verdict))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
