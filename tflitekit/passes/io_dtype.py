"""What `set-io-dtype` does: which inputs and outputs are meant, what is refused, and what else in the file speaks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._schema import TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, OperatorCode, SubGraph, Tensor
from ..quant.affine import Affine
from .base import Notes
from .bounds import Changed, keep_bounds
from .interface import callers, ends, matching
from .io_dtype_codes import FLOAT, INTERFACE, codes_of
from .io_dtype_edit import INPUTS, OUTPUTS, Inputs, Interface, Outputs
from .set_io_dtype import parse_types
from .surgery import drop_control_dependencies, pinned, raise_min_runtime, remove_unused, remove_unused_codes

if TYPE_CHECKING:
    from .set_io_dtype import SetIoDtype

_EDITORS = {INPUTS: Inputs, OUTPUTS: Outputs}


@dataclass(eq=False)
class Wanted:
    """An input or output (the first of equal ones at `position`) that is to have a type; `named` says that it was asked for by name."""

    subgraph: SubGraph
    side: str
    position: int
    type: TensorType
    named: bool
    before: Affine | None = None

    @property
    def tensor(self) -> Tensor:
        """The tensor that is there now."""
        found = getattr(self.subgraph, self.side)[self.position]
        assert isinstance(found, Tensor)
        return found


def set_types(options: SetIoDtype, model: Model, notes: Notes) -> None:
    """Change all inputs and outputs that are asked for. RefusedError if not one of them can have its type; single ones are noted."""
    wanted = [one for side in (INPUTS, OUTPUTS) for one in select(model, side, getattr(options, side))]
    run = _Run(model, notes, [one for one in wanted if one.tensor.type in INTERFACE or one.named])
    for one in wanted:
        if one not in run.wanted:
            notes.remark(one.tensor, f"{one.side[:-1]} stays {one.tensor.type.name}, which is neither floats nor codes of 8 or 16 bits")
    if not run.wanted:
        raise RefusedError("no input or output that was asked for is FLOAT32, INT8, UINT8 or INT16")
    run.change_all()
    run.finish()


# ---- which are meant ----


def select(model: Model, side: str, text: str) -> list[Wanted]:
    """The inputs or outputs that a text of types means, each once. EditError for names that match nothing, and for two types of one tensor."""
    chosen: dict[Tensor, Wanted] = {}
    everyone = ends(model, side)
    for name, type_name in sorted(parse_types(text, f"--{side}"), key=lambda pair: not pair[0]):
        type_ = TensorType[type_name.upper()]
        for tensor in matching(model, side, name, everyone, f"--{side}") if name else everyone:
            other = chosen.get(tensor)
            if other is None:
                chosen[tensor] = Wanted(*(everyone[tensor][0], side, everyone[tensor][1]), type=type_, named=bool(name))
            elif name and other.type != type_:
                raise EditError(f"--{side}: {tensor.name_str!r} cannot be both {other.type.name} and {type_.name}")
    return sorted(chosen.values(), key=lambda one: (model.subgraphs.index(one.subgraph), one.position))


# ---- changing them ----


class _Run:
    """One run of the pass."""

    def __init__(self, model: Model, notes: Notes, wanted: list[Wanted]) -> None:
        self.model, self.notes, self.wanted = model, notes, wanted
        self.pinned, self.called = pinned(model), callers(model)
        self.editors: dict[tuple[SubGraph, str], Interface] = {}
        self.changed: list[Wanted] = []

    def change_all(self) -> None:
        """Change what can be changed. RefusedError, with every reason, if nothing of what was asked for can."""
        refused: list[tuple[Wanted, str]] = []
        for one in self.wanted:
            if one.tensor.type == one.type:
                self.notes.remark(one.tensor, f"{one.side[:-1]} is {one.type.name} already")
                continue
            try:
                self._change(one)
            except RefusedError as error:
                refused.append((one, f"{one.side[:-1]} {one.tensor.name_str!r} cannot be {one.type.name}: {error}"))
        if len(refused) == len(self.wanted):
            raise RefusedError("; ".join(text for _, text in refused))
        for one, text in refused:
            self.notes.refused(one.tensor, text)

    def _change(self, one: Wanted) -> None:
        tensor, old = one.tensor, one.tensor.type
        if old not in INTERFACE:
            raise RefusedError(f"it is {old.name}, which is neither floats nor codes of 8 or 16 bits")
        if any(size < 0 for size in tensor.shape):
            raise RefusedError(f"its shape {list(tensor.shape)} is none")
        if one.subgraph in self.called:
            raise RefusedError(f"{self.called[one.subgraph]} calls its subgraph and hands over what the subgraph takes now")
        one.before = None if old == FLOAT else codes_of(tensor)
        editor = self.editors.get((one.subgraph, one.side)) or _EDITORS[one.side](self.model, one.subgraph, self.pinned)
        self.editors[one.subgraph, one.side] = editor
        editor.log.clear()
        editor.change(tensor, one.type)  # type: ignore[attr-defined]
        self.changed.append(one)
        after = None if one.type == FLOAT else codes_of(one.tensor)
        was, now = _shown(one.before), _shown(after)
        done = f"; {', '.join(editor.log)}" if editor.log else ""
        data = {} if after is None else {"scale": float(after.scale), "zero_point": after.zero_point}
        self.notes.changed(one.tensor, f"{one.side[:-1]} is {now} now, was {was}{done}", old=old.name, new=one.type.name, **data)

    def finish(self) -> None:
        """Take out what is unused now, and keep up what else speaks of types and operators."""
        editors = list(self.editors.values())
        for editor in editors:
            remove_unused(self.model, editor.subgraph, editor.unused)
        remove_unused_codes(self.model, [code for editor in editors for code in editor.dropped])
        added: list[OperatorCode] = [code for editor in editors for code in editor.added]
        if raised := raise_min_runtime(self.model, added):
            self.notes.changed("metadata", f"min_runtime_version {raised[0]} raised to {raised[1]}")
        moved = any(editor.dropped or editor.added for editor in editors)
        if moved and drop_control_dependencies(self.model):
            self.notes.changed("metadata", "model_control_dependencies taken out: it lists operators by position, and those moved")
        if self.changed:
            keep_bounds(self.model, [Changed(one.subgraph, one.side, one.position, one.tensor, one.before) for one in self.changed], self.notes)


def _shown(codes: Affine | None) -> str:
    return "FLOAT32" if codes is None else f"{codes.type.name} with scale {float(codes.scale)!r} and zero point {codes.zero_point}"
