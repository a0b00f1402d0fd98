"""The child process: runs one model in the LiteRT interpreter, until its standard input ends.

`process` starts this file as a script. It imports nothing of ours, so that it starts fast, and dies without harm where native code crashes.

A frame, in both directions, is two little-endian uint32, the length of a JSON header and the number of arrays' bytes in the uint64 behind them, then
the header and the bytes of the arrays that it describes. No pickles: what comes back from a process that ran a foreign model is only data.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

HEAD = struct.Struct("<IQ")
Frame = tuple[dict[str, Any], list[Any]]
RESOLVERS = {"default": "AUTO", "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def write_frame(stream: BinaryIO, header: dict[str, Any], arrays: list[Any]) -> None:
    """Send a header and numpy arrays; None stands for an array that could not be had."""
    import numpy as np

    solid = [None if array is None else np.asarray(array, order="C") for array in arrays]
    header = {**header, "arrays": [None if array is None else [array.dtype.str, list(array.shape)] for array in solid]}
    text = json.dumps(header).encode()
    stream.write(HEAD.pack(len(text), sum(array.nbytes for array in solid if array is not None)))
    stream.write(text)
    for array in solid:
        if array is not None and array.nbytes:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next header and its arrays; None at the end of the stream, also in the middle of a frame."""
    import numpy as np

    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, size = HEAD.unpack(head)
    text, data = stream.read(length), stream.read(size)
    if len(text) < length or len(data) < size:
        return None
    header, at = json.loads(text), 0
    arrays: list[Any] = []
    for entry in header["arrays"]:
        if entry is None:
            arrays.append(None)
            continue
        dtype, shape = np.dtype(entry[0]), tuple(entry[1])
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(data, dtype, count, at).reshape(shape) if count else np.zeros(shape, dtype))
        at += count * dtype.itemsize
    return header, arrays


class Session:
    """A model in an interpreter."""

    def __init__(self, header: dict[str, Any], arrays: list[Any]) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        _limit_memory(header["memory"])
        source = {"model_path": header["path"]} if header["path"] is not None else {"model_content": arrays[0].tobytes()}
        self.interpreter = Interpreter(
            experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[header["resolver"]]),
            experimental_preserve_all_tensors=header["preserve"], num_threads=header["threads"], **source,
        )  # fmt: skip

    def run(self, header: dict[str, Any], arrays: list[Any]) -> list[Any]:
        """The outputs, then the tensors that were asked for by their index; None for those that cannot be read."""
        if header["signature"] is not None:
            runner = self.interpreter.get_signature_runner(header["signature"])
            found = runner(**dict(zip(header["inputs"], arrays, strict=True)))
            outputs = [found[name] for name in header["outputs"]]
        else:
            outputs = self._by_position(arrays)
        return outputs + [self._tensor(index, header["subgraph"]) for index in header["tensors"]]

    def _by_position(self, arrays: list[Any]) -> list[Any]:
        details = self.interpreter.get_input_details()
        for detail, array in zip(details, arrays, strict=True):
            if tuple(detail["shape"]) != array.shape:
                self.interpreter.resize_tensor_input(detail["index"], array.shape)
        self.interpreter.allocate_tensors()
        for detail, array in zip(details, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(detail["index"]) for detail in self.interpreter.get_output_details()]

    def _tensor(self, index: int, subgraph: int) -> Any:
        try:
            value = self.interpreter.get_tensor(index, subgraph)
        except (RuntimeError, ValueError):
            return None
        return None if value.dtype.kind in "OSU" else value


def _limit_memory(mebibytes: int | None) -> None:
    """Limit the address space; where the system knows no such limit, nothing happens."""
    if mebibytes is None:
        return
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
    except (ImportError, OSError, ValueError):
        return


def _follow_parent() -> None:
    """End when the parent is gone, even in the middle of a run."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _prepare() -> BinaryIO:
    """No core dumps, no interrupts from the terminal, and nothing but replies on the channel: native code prints to descriptor 1."""
    import contextlib
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _follow_parent()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def main() -> None:
    """Answer frames one by one: "open" once, then "run"."""
    del sys.path[0]  # the folder of this file, which is no place to import from
    out = _prepare()
    session: Session | None = None
    while True:
        reply: Frame
        frame: Frame | None = ({}, [])
        try:
            frame = read_frame(sys.stdin.buffer)
            if frame is None:
                return
            header, arrays = frame
            if header["do"] == "open":
                session = Session(header, arrays)
                reply = {"status": "ok"}, []
            else:
                assert session is not None
                reply = {"status": "ok"}, session.run(header, arrays)
                if any(array.dtype.kind in "OSU" for array in reply[1] if array is not None):
                    reply = {"status": "refused", "message": "an output holds strings"}, []
        except MemoryError:
            reply = {"status": "memory", "message": "no more could be allocated"}, []
        except Exception as error:
            reply = {"status": "refused", "message": str(error)}, []
        write_frame(out, *reply)
        if frame == ({}, []):  # it could not be read, and the next one cannot be found
            return


if __name__ == "__main__":
    main()
