"""Everything that tflitekit does with a model, done to one hostile file, and what came of it."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tflitekit as tk
from tflitekit.cli.main import main
from tflitekit.passes.options import parse_spec
from tflitekit.quant.rules import Runtime

SECONDS = 2.0  # of processor time, for each thing that is done
SPARE = 64 << 20  # bytes of private memory beyond twice the file

COMMANDS = tuple(
    tuple(text.split())
    for text in (
        "summary", "tensors", "operators", "verify", "io", "audit", "summary --json", "tensors --json --exact", "operators --json", "verify --strict",
        "io --json", "audit --json --weights", "tensors --histogram --channels", "audit --weights --markdown", "audit --sarif -",
        "verify --cross-check", "summary --jsonl", "io --code c", "io --code numpy", "audit --jsonl",
        *(f"audit --runtime {runtime.name.lower()}" for runtime in Runtime),
    )
)  # fmt: skip
PLAIN = 6  # the first so many commands are run on every file; of the others, two
FEW, PART, EVERY = "few", "part", "every"  # how much is done: two commands and two passes; PLAIN and two more, every pass once; all with all options
SPECS: dict[str, tuple[str, ...]] = {
    "convert-activations": ("to=int8", "to=int8,min-sqnr=45", "to=int16,max-error=0.001", "to=uint8,per-tensor", "to=int16"),
    "fix-quantization": ("", "bias=retag", "bias=encode"),
    "requantize-weights": (
        "to=int8", "to=int4,granularity=blockwise-32", "to=float32", "to=float16,form=explicit",
        "to=int8,granularity=per-tensor,range=mse,asymmetric", 'try="int8,int4"',
    ),
    "set-quantization": (
        'tensor="*",keep=codes,scale=1/256,zero_point=0', 'tensor="*",keep=real,scale=0.5,zero-point=3', "tensor=0:1,keep=real,axis=0",
    ),
    "set-io-dtype": ("inputs=int8,outputs=int8", "inputs=float32,outputs=float32", "inputs=uint8", "outputs=int16"),
    "set-input-stats": (
        "mode=reinterpret,input=0,mean=127.5,std=127.5,dtype=uint8", "mode=feed-raw,input=0,mean=128,std=128", "mode=feed-raw,input=0,min=-1,max=1",
        "mode=feed-raw,input=0,mean=0,std=255,exact", "mode=feed-raw,input=0,mean=127.5,std=127.5,fold", "metadata-only,input=0,mean=0,std=255",
    ),
}  # fmt: skip
PASSES = {name: tuple(parse_spec(f"{name}{{{options}}}") for options in texts) for name, texts in SPECS.items()}


@dataclass
class Outcome:
    """What one file came to. `verdict`: "accepted", or the name of the error that refused it. `problems`: (what was done, kind, text) each."""

    number: int
    verdict: str = ""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # errors of ours, "operation: class"
    caught: list[str] = field(default_factory=list)  # failures on broken models that became refusals
    done: int = 0
    slowest: float = 0.0
    slowest_of: str = ""
    peak: int = 0  # bytes of private memory above those before the file


class Hang(BaseException):
    """The time is up. No Exception, so that nothing in between takes it for one."""


def expire(number: int, frame: object) -> None:
    """The handler of SIGPROF."""
    raise Hang


def exercise(data: bytes, number: int, folder: Path, effort: str = PART) -> Outcome:
    """Parse a file (with `expire` as the handler of SIGPROF); if it is accepted, do other things with it: which, depends on the number unless
    the effort is EVERY.
    """
    outcome = Outcome(number)
    before = _private()
    with _limited(len(data)):
        model = _attempt(outcome, "parse", lambda: tk.parse(data))
    if isinstance(model, tk.Model):
        outcome.verdict = "accepted"
        for name, function in _operations(data, model, number, folder, effort):
            with _limited(len(data)):
                _attempt(outcome, name, function)
            grown = _private() - before
            outcome.peak = max(outcome.peak, grown)
            if grown > SPARE // 4:
                gc.collect()  # what is left of one thing must not count for the next
    return outcome


def _attempt(outcome: Outcome, name: str, function: Callable[[], Any]) -> Any:
    """Do one thing; anything but a result or an error of ours is a problem."""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return function()
    except tk.TFLiteKitError as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, (tk.TFLiteKitError, OSError)):
            outcome.caught.append(f"{name}: {_where(error.__cause__)}")
        outcome.refusals.append(f"{name}: {type(error).__name__}")
        outcome.verdict = outcome.verdict or type(error).__name__
        if isinstance(error, tk.PassError):
            outcome.problems.append((name, "pass", str(error)))
    except BaseException as error:
        kind = {Hang: "hang", MemoryError: "memory"}.get(type(error), "foreign")
        outcome.problems.append((name, kind, _where(error)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent = time.process_time() - started
        outcome.done += 1
        if spent > outcome.slowest:
            outcome.slowest, outcome.slowest_of = spent, name
    return None


def _where(error: BaseException) -> str:
    """The exception, and the frames that lead to it."""
    trace = error.__traceback__
    frames = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace) if "tflitekit" in f.filename][-4:]
    return f"{type(error).__name__}: {str(error)[:200]} at {' > '.join(frames)}"


def _operations(data: bytes, model: tk.Model, number: int, folder: Path, effort: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "verify", lambda: tk.verify(model)
    yield "serialize", lambda: _same(tk.serialize(model), data)
    yield "rebuild", lambda: _rebuild(model)
    path = folder / "m.tflite"
    path.write_bytes(data)
    plain, more, passes = COMMANDS[:PLAIN], COMMANDS[PLAIN:], list(PASSES.values())
    chosen = more if effort == EVERY else (more[number % len(more)], more[(number // len(more)) % len(more)])
    if effort == FEW:
        plain, chosen, passes = (plain[number % PLAIN],), chosen[:1], [passes[number % len(passes)], passes[number // 2 % len(passes)]]
    for command in plain + tuple(dict.fromkeys(chosen)):
        yield " ".join(command), lambda command=command: _command(command, path)  # type: ignore[misc]
    for options in passes:
        for one in options if effort == EVERY else (options[number % len(options)],):
            yield one.describe(), lambda one=one: _pass(model, one)  # type: ignore[misc]


def _same(found: object, expected: object) -> None:
    assert found == expected


def _rebuild(model: tk.Model) -> None:
    """A new layout says the same, and is a fixed point."""
    rebuilt = tk.serialize(model, rebuild=True)
    again = tk.parse(rebuilt)
    _same([str(change) for change in tk.diff(model, again)], [])
    _same(tk.serialize(again, rebuild=True), rebuilt)


def _command(command: tuple[str, ...], path: Path) -> None:
    """A command ends with one of its exit codes, prints nothing that steers a terminal, and JSON that is JSON."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([command[0], str(path), *command[1:], "--traceback"])
    text = out.getvalue() + errors.getvalue()
    assert code in (0, 1), f"exit code {code}: {text[:200]}"
    bad = {c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0" or c in "\u202e\u2028" or "\ud800" <= c <= "\udfff"}
    assert not bad, f"prints {bad}"
    if "--json" in command or "--jsonl" in command or "--sarif" in command:
        json.loads(out.getvalue(), parse_constant=_no_json)


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _pass(model: tk.Model, one: tk.passes.Pass) -> None:
    """What a pass makes can be written, and is what the file then says."""
    result = tk.run(model, one)
    if result.changes:
        again = tk.parse(tk.serialize(result.model))
        _same([str(change) for change in tk.diff(result.model, again)], [])


# ---- limits ----


def _private() -> int:
    """Bytes of memory of this process alone (RssAnon)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def _data() -> int:
    """Bytes of private writable mappings, which is what the kernel holds against RLIMIT_DATA."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def _limited(size: int) -> Iterator[None]:
    """No more private memory than twice the file and SPARE: an allocation beyond that is a MemoryError, even if nothing is written to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data() + 2 * size + SPARE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
