"""Which tensors have to follow when the parameters of one change: the chain of those whose codes are passed on unchanged.

It ends at operators that rescale: their kernels read the parameters of their input. On the way it takes in outputs, constants that must share the
parameters, and variables. Where it meets tensors that come from elsewhere, or operators that do not look at parameters, a QUANTIZE keeps the two
apart, if one range holds the other; else nothing would be right, and the rewriting is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .._schema import BuiltinOperator, TensorType
from ..errors import RefusedError
from ..graph import Model, Operator, Tensor
from ..quant.affine import Affine
from ..quant.rules import OpRule, Role, SameParameters, Sharing, operand, rule_for
from .bias import product
from .input_stats import stored_affine
from .interface import callers

TWINS = {(TensorType.UINT8, TensorType.INT8), (TensorType.INT8, TensorType.UINT8)}
Variable = tuple[bytes, bytes]


@dataclass(frozen=True)
class Reading:
    """What an operator makes of a tensor that it reads. `members` share its parameters; `refusal` says why it cannot follow ("" if it can)."""

    members: tuple[Tensor, ...] = ()
    refusal: str = ""
    variable: Variable | None = None


class Chain:
    """`members` are the tensors with their new parameters, `cuts` the (operator, tensor) that go on reading the old ones through a QUANTIZE,
    `foreign` the (operator, tensor) from elsewhere that need a QUANTIZE to the new ones, `constants` those to encode again."""

    def __init__(self, model: Model, roots: dict[Tensor, Affine]) -> None:
        self.model, self.roots = model, roots
        self.called = callers(model)
        self.owners = {operator: subgraph for subgraph in model.subgraphs for operator in subgraph.operators}
        self.consumers = {subgraph: subgraph.consumers() for subgraph in model.subgraphs}
        self.variables = _Variables(model)
        self.cuts: dict[tuple[Operator, Tensor], None] = {}
        self.members: dict[Tensor, Affine] = {}
        self.foreign: dict[tuple[Operator, Tensor], None] = {}
        self.constants: dict[tuple[Operator, Tensor], None] = {}
        first, wanted = next(iter(roots.items()))
        old = stored_affine(first)
        assert old is not None
        (low, high), (new_low, new_high) = old.range(), wanted.range()
        slack = 0.5 * min(float(old.scale), float(wanted.scale))
        self.covers = new_low <= low + slack and new_high >= high - slack
        self.within = new_low >= low - slack and new_high <= high + slack
        self.ranges = f"the new range {new_low:.6g} to {new_high:.6g} and the old one {low:.6g} to {high:.6g}"
        while self._grow():
            pass

    def _grow(self) -> bool:
        """Follow the chain from its roots; True if it had to be cut, so that it has to be followed anew."""
        self.members, self.foreign, self.constants = dict(self.roots), {}, {}
        queue = list(self.roots)
        carriers: dict[Operator, Tensor] = {}
        for tensor in queue:
            self._check_place(tensor)
            for operator in self.readers(tensor):
                reading = self.reading(operator, tensor)
                if reading.refusal:
                    self._cut(operator, tensor, reading.refusal)
                    return True
                if reading.members or reading.variable is not None:
                    carriers[operator] = tensor
                followers = [t for t in reading.members if t in self._results(operator)]
                if reading.variable is not None:
                    followers += self.variables.read(reading.variable)
                    carriers |= dict.fromkeys(self.variables.assigning(reading.variable), tensor)
                queue += self._join(tensor, followers)
        return any(self._settle(operator, tensor) for operator, tensor in carriers.items())

    def readers(self, tensor: Tensor) -> list[Operator]:
        """The operators that read a member as it is, not through a QUANTIZE, before anything was put in."""
        subgraph = tensor.subgraph
        found = self.consumers.get(subgraph, {}).get(tensor, []) if subgraph is not None else []
        return [operator for operator in found if (operator, tensor) not in self.cuts]

    def _results(self, operator: Operator) -> list[Tensor]:
        return [t for t in operator.outputs if t is not None]

    def _join(self, tensor: Tensor, followers: Iterable[Tensor]) -> list[Tensor]:
        """Let tensors follow another; returns the new ones."""
        made = []
        for follower in followers:
            wanted = self._for_type(self.members[tensor], follower.type)
            known = self.members.get(follower)
            if known is None and wanted is not None and not follower.is_constant:
                self.members[follower] = wanted
                made.append(follower)
            elif wanted is None or (known is not None and known != wanted):
                raise RefusedError(f"tensor {follower.name_str!r} ({follower.type.name}) would need two parameters at once")
        return made

    def _for_type(self, affine: Affine, type_: TensorType) -> Affine | None:
        if type_ == affine.type:
            return affine
        return affine.shifted(type_) if (affine.type, type_) in TWINS else None

    def _settle(self, operator: Operator, tensor: Tensor) -> bool:
        """See to the other inputs of an operator that passes on the codes of a member; True if the operator was cut off instead."""
        if all(t not in self.members for t in operator.inputs if t is not None) and operator.op_name != "ASSIGN_VARIABLE":
            return False
        for other in self._shared_inputs(operator, tensor):
            if other in self.members:
                continue
            if other.is_constant:
                if not self._holds(other, self.members[tensor]):
                    return self._cut_all(operator, f"its constant {other.name_str!r} does not fit in the new range")
                self.constants[operator, other] = None
            elif self.covers:
                self.foreign[operator, other] = None
            else:
                return self._cut_all(operator, f"{other.name_str!r}, which shares its parameters, comes from elsewhere")
        return False

    def _shared_inputs(self, operator: Operator, tensor: Tensor) -> list[Tensor]:
        if operator.op_name == "ASSIGN_VARIABLE":
            return [t for t in operator.inputs[1:2] if t is not None]
        read = next((t for t in operator.inputs if t is not None and t in self.members and (operator, t) not in self.cuts), tensor)
        return [t for t in self.reading(operator, read).members if any(t is i for i in operator.inputs)]

    def _holds(self, constant: Tensor, wanted: Affine) -> bool:
        """Whether the real values of a constant have codes at the new parameters."""
        old = stored_affine(constant)
        if old is None:
            return False
        codes = constant.numpy()
        if not codes.size:
            return True
        low, high = ((int(edge) - old.zero_point) * float(old.scale) for edge in (codes.min(), codes.max()))
        new_low, new_high = wanted.range()
        slack = 0.5 * float(wanted.scale)
        return new_low - slack <= low and high <= new_high + slack

    def _cut(self, operator: Operator, tensor: Tensor, why: str) -> None:
        """Leave an operator with the old parameters; RefusedError where their range does not hold the new one."""
        if not self.within:
            raise RefusedError(
                f"{self._label(operator)} reads {tensor.name_str!r} and cannot follow: {why}. A QUANTIZE in front of it would clip: {self.ranges}. "
                f"Choose parameters whose range lies within the old one, or set the tensor alone: set-quantization --keep codes"
            )
        self.cuts[operator, tensor] = None

    def _cut_all(self, operator: Operator, why: str) -> bool:
        """Cut off an operator from all members that it reads; of a variable, all that assign members to it."""
        variable = self.variables.of(operator)
        for one in [operator] if variable is None else self.variables.assigning(variable):
            for tensor in dict.fromkeys(t for t in one.inputs if t is not None and t in self.members):
                self._cut(one, tensor, why)
        return True

    def affine_at(self, operator: Operator) -> Affine:
        """The new parameters of the members that an operator passes on."""
        variable = self.variables.of(operator)
        tensors = [*operator.inputs, *operator.outputs]
        if variable is not None:
            tensors = [*(t for one in self.variables.assigning(variable) for t in one.inputs[1:2]), *self.variables.read(variable)]
        return next(self.members[t] for t in tensors if t is not None and t in self.members)

    def _label(self, operator: Operator) -> str:
        subgraph = self.owners[operator]
        number = next(i for i, one in enumerate(subgraph.operators) if one is operator)
        return f"{operator.op_name} (subgraphs[{self.model.subgraphs.index(subgraph)}].operators[{number}])"

    def _check_place(self, tensor: Tensor) -> None:
        subgraph = tensor.subgraph
        if subgraph in self.called and tensor in [*subgraph.inputs, *subgraph.outputs] and tensor not in self.roots:
            caller = self.called[subgraph]
            raise RefusedError(f"tensor {tensor.name_str!r} is an input or output of a subgraph that {caller} runs: the parameters would end there")

    # ---- what an operator makes of a tensor ----

    def reading(self, operator: Operator, tensor: Tensor) -> Reading:
        """How an operator reads a tensor with these parameters: rescales it, passes its codes on, or cannot follow."""
        rule = rule_for(operator)
        if rule is None:
            known = operator.op_name in BuiltinOperator.__members__
            return Reading(refusal="what it makes of parameters is not known" if known else "what it computes is not in the file")
        roles = rule.input_roles(len(operator.inputs))
        used = {role.role for t, role in zip(operator.inputs, roles or (), strict=False) if t is tensor}
        if operator.op_name == "ASSIGN_VARIABLE" and len(operator.inputs) > 1 and operator.inputs[1] is tensor:
            variable = self.variables.of(operator)
            return Reading(variable=variable) if variable is not None else Reading(refusal="which variable it assigns cannot be seen")
        members = tuple(shared(rule, operator, tensor))
        if members:
            return Reading(members)
        if operator.op_name == "QUANTIZE" and self._only_shifts(operator, tensor):
            return Reading(tuple(t for t in operator.outputs[:1] if t is not None))
        return Reading(refusal=self._refusal(rule, operator, tensor, used))

    def _refusal(self, rule: OpRule, operator: Operator, tensor: Tensor, used: set[Role]) -> str:
        """Why an operator that shares parameters with nothing cannot follow; "" if its kernel reads them."""
        if rule.takes_codes:
            return "it takes codes as plain numbers"
        if not used or used - {Role.ACTIVATION, Role.CONSTANT, Role.WEIGHTS}:
            return "it keeps it as a state" if Role.STATE in used else "what it is there is not known"
        if Role.WEIGHTS in used and self.members[tensor].zero_point != 0 and operator.op_name != "BATCH_MATMUL":  # which subtracts it
            return "it serves as weights, whose zero point is 0"
        if operator.op_name == "LSTM" and len(operator.inputs) == 5:
            return "the basic LSTM cell joins it with its own output, whose parameters are fixed"
        for one in rule.biases:
            bias = operator.inputs[one.operand] if one.operand < len(operator.inputs) else None
            if bias is None or bias.type not in (TensorType.INT32, TensorType.INT64) or not any(operand(operator, f) is tensor for f in one.factors):
                continue
            if one.unless and operand(operator, one.unless) is not None:
                continue
            if not bias.is_constant or product(operator, one) is None:
                return f"its bias {bias.name_str!r} cannot be encoded again"
        if tensor.type not in rule.types and operator.op_name not in ("QUANTIZE", "DEQUANTIZE"):
            return f"no kernel is known that computes {tensor.type.name}"
        return ""

    def _only_shifts(self, operator: Operator, tensor: Tensor) -> bool:
        """Whether a QUANTIZE keeps all real values: between INT8 and UINT8, or equal types, of one scale."""
        target = operator.outputs[0] if operator.outputs else None
        old, result = stored_affine(tensor), None if target is None else stored_affine(target)
        if old is None or result is None:
            return False
        return (old.type, result.type) in TWINS and old.shifted(result.type) == result


def shared(rule: OpRule, operator: Operator, tensor: Tensor) -> list[Tensor]:
    """The other operands whose parameters an operator takes to be those of a tensor, directly or by another operand that two groups have."""
    groups = [set(_members(operator, group)) for group in rule.same_parameters if group.sharing != Sharing.RESCALED and tensor.type in group.types]
    found = {tensor}
    while (more := {t for group in groups if group & found for t in group} - found) != set():
        found |= more
    return [t for t in dict.fromkeys([*operator.inputs, *operator.outputs]) if t is not None and t is not tensor and t in found]


def _members(operator: Operator, group: SameParameters) -> Iterator[Tensor]:
    """The operands of a group that are there."""
    for name in group.group:
        if name.endswith("*"):
            yield from (t for t in (operator.inputs if name == "in*" else operator.outputs) if t is not None)
        elif (one := operand(operator, name)) is not None:
            yield one


class _Variables:
    """Variables by container and name, over all subgraphs: what is assigned to them and read from them."""

    def __init__(self, model: Model) -> None:
        handles: dict[Tensor, Variable] = {}
        for operator in model.operators():
            options = operator.options
            if operator.op_name == "VAR_HANDLE" and options is not None and operator.outputs and operator.outputs[0] is not None:
                key = getattr(options, "container", None) or b"", getattr(options, "shared_name", None) or b""
                handles[operator.outputs[0]] = key
        self._of: dict[Operator, Variable] = {}
        self._reads: dict[Variable, list[Tensor]] = {}
        for operator in model.operators():
            source = operator.inputs[0] if operator.inputs else None
            if operator.op_name in ("ASSIGN_VARIABLE", "READ_VARIABLE") and source in handles:
                if operator.op_name == "ASSIGN_VARIABLE":
                    self._of[operator] = handles[source]
                else:
                    self._reads.setdefault(handles[source], []).extend(t for t in operator.outputs if t is not None)

    def of(self, operator: Operator) -> Variable | None:
        """The variable that an operator assigns."""
        return self._of.get(operator)

    def read(self, variable: Variable) -> list[Tensor]:
        """The tensors that hold what is read from a variable."""
        return self._reads.get(variable, [])

    def assigning(self, variable: Variable) -> list[Operator]:
        """The operators that assign a variable."""
        return [operator for operator, key in self._of.items() if key == variable]
