"""verify(model): every broken invariant of a model, as problems with a path and a severity.

`error`: LiteRT refuses the model, or an index points at nothing. `warning`: something in it cannot be meant, or other runtimes refuse it; a schema
version other than 3 too, which says nothing about the rest. `info`: unusual, harmless. What operators demand of types and scales is not checked
here, only what holds for any model.

One function states one invariant. Each first finds candidates with a set operation or one pass over all tensors or operators, since almost all of
them are fine, and builds paths and messages for those only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Any

from . import _tensor_invariants, types
from ._base import Dangling, OpaqueUnion, class_of, fields_of, table_name
from ._facts import Facts, Problem, Scope
from ._schema import OPTIONS, UNIONS, BuiltinOperator, TensorType
from ._walk import collector_paused, kind_name, printable, reference_fields, target_of
from .graph import Model, Operator, SignatureDef, SubGraph, TensorMap

__all__ = ["INVARIANTS", "Problem", "verify"]

SCHEMA_VERSION = 3


def verify(model: Model) -> list[Problem]:
    """Every broken invariant of the model, grouped by invariant. Never raises for what a file can hold."""
    with collector_paused():
        misplaced = list(_object_types(model))
        if misplaced:
            return misplaced  # the other invariants would trip over objects of the wrong class
        facts = Facts(model)
        return list(chain.from_iterable(invariant(facts) for invariant in INVARIANTS))


def _object_types(model: Model) -> Iterator[Problem]:
    """Lists hold objects of their class. Assignment sees to that, appending does not."""
    groups: list[tuple[list[Any], Callable[[int], str]]] = [([model], _fixed(""))]
    for number, subgraph in enumerate(model.subgraphs):
        if isinstance(subgraph, SubGraph):
            groups.append(([subgraph], _fixed(f"subgraphs[{number}]")))
            if all(isinstance(operator, Operator) for operator in subgraph.operators):
                groups.append((subgraph.operators, _indexed(f"subgraphs[{number}].operators")))
    groups.extend(([s], _fixed(f"signature_defs[{i}]")) for i, s in enumerate(model.signature_defs) if isinstance(s, SignatureDef))
    for owners, place in groups:
        for field in fields_of(type(owners[0])) if owners else ():
            if not (field.kind == "tables" or (field.kind == "vector" and field.refers_to)):
                continue
            wanted = class_of(target_of(field) or field.type)
            lists = list(map(attrgetter(field.attribute), owners))
            allowed = (wanted, type(None)) if field.refers_to else wanted
            if all(issubclass(held, allowed) for held in set(map(type, chain.from_iterable(lists)))):
                continue
            for row, items in enumerate(lists):
                for index, item in enumerate(items):
                    if not isinstance(item, allowed):
                        where = ".".join(filter(None, [place(row), f"{field.attribute}[{index}]"]))
                        yield Problem("error", "object-type", where, "", f"expected {wanted.__name__}, got {type(item).__name__}")


def _fixed(path: str) -> Callable[[int], str]:
    return lambda row: path


def _indexed(path: str) -> Callable[[int], str]:
    return lambda row: f"{path}[{row}]"


# ---- the model ----


def schema_version(facts: Facts) -> Iterator[Problem]:
    """The schema version is the one that every runtime demands."""
    if facts.model.version != SCHEMA_VERSION:
        message = f"schema version {facts.model.version}; runtimes take only {SCHEMA_VERSION}"
        yield Problem("warning", "schema-version", "version", "", message)


def required_lists(facts: Facts) -> Iterator[Problem]:
    """There are subgraphs, buffers, and a list of tensors in each subgraph."""
    model = facts.model
    if not model.subgraphs:
        yield Problem("error", "no-subgraphs", "subgraphs", "", "the model has no subgraph; runtimes refuse it")
    if not model.buffers and not model.has("buffers"):
        yield Problem("error", "no-buffers", "buffers", "", "the model has no list of buffers; runtimes refuse it, even if no tensor has data")
    for scope in facts.scopes:
        if not scope.subgraph.tensors and not scope.subgraph.has("tensors"):
            yield Problem("error", "no-tensors", f"{scope.path}.tensors", "", "the subgraph has no list of tensors; runtimes refuse it")


def listed_once(facts: Facts) -> Iterator[Problem]:
    """An object is in its list once, and a tensor in one subgraph, so that its index is unambiguous."""
    model = facts.model
    lists: list[tuple[str, list[Any]]] = [(name, getattr(model, name)) for name in ("operator_codes", "subgraphs", "buffers", "external_buffers")]
    lists += [(f"{scope.path}.{name}", getattr(scope.subgraph, name)) for scope in facts.scopes for name in ("tensors", "operators")]
    for path, items in lists:
        if len(set(items)) != len(items):
            first: dict[Any, int] = {}
            for index, item in enumerate(items):
                if first.setdefault(item, index) != index:
                    message = f"the same object as at {first[item]}; its references all get one of the two indices"
                    yield Problem("warning", "listed-twice", f"{path}[{index}]", "", message)
    seen: set[Any] = set()
    for scope in facts.scopes:
        for index, _ in scope.indices(scope.tensors & seen):
            yield scope.tensor(index, "warning", "listed-twice", "the same object is a tensor of an earlier subgraph")
        seen |= scope.tensors


def operator_codes(facts: Facts) -> Iterator[Problem]:
    """Operator codes are known, versions start at 1, custom operators have a name."""
    known = frozenset(map(int, BuiltinOperator))
    for index, code in enumerate(facts.model.operator_codes):
        path = f"operator_codes[{index}]"
        if code.version < 1:
            yield Problem("error", "opcode-version", f"{path}.version", "", f"{printable(code.op_name)} has version {code.version}; they start at 1")
        if code.code == BuiltinOperator.CUSTOM and code.custom_code is None:
            yield Problem("error", "custom-code", f"{path}.custom_code", "", "a custom operator without a custom_code; runtimes refuse it")
        elif int(code.code) not in known or code.code == BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES:
            yield Problem("warning", "opcode-unknown", f"{path}.builtin_code", "", f"{int(code.code)} is no builtin operator of this schema")


# ---- references ----

# References that may be absent (-1 or 0 in the file): (table, field).
_OPTIONAL = {
    ("Operator", "inputs"), ("Operator", "intermediates"), ("Tensor", "buffer"), ("Tensor", "external_buffer"),
    ("BlockwiseQuantization", "zero_points"), ("MultiAxisQuantization", "zero_points"),
}  # fmt: skip
# Absent references that runtimes take, though they cannot be meant.
_TOLERATED = {("SubGraph", "outputs"), ("Model", "metadata_buffer")}
_Site = tuple[list[Any], Callable[[int], str], Scope | None]


def references(facts: Facts) -> Iterator[Problem]:
    """Every index points at an element of its list, and every object that is referred to is part of the model."""
    for objects, place, scope in _sites(facts):
        for field in reference_fields(type(objects[0])) if objects else ():
            key = (table_name(type(objects[0])), field.name)
            target = target_of(field)
            members: Any = facts.positions.of[target]
            if target == "Tensor" and scope is not None:
                members = scope.tensors
            column = list(map(attrgetter(field.attribute), objects))
            used: Iterable[Any] = chain.from_iterable(column) if field.kind == "vector" else column
            if all(map(members.__contains__, filter(None, used) if key in _OPTIONAL else used)):
                continue
            for row, value in enumerate(column):
                for index, item in enumerate(value) if field.kind == "vector" else [(None, value)]:
                    if item not in members and not (item is None and key in _OPTIONAL):
                        path = ".".join(filter(None, [place(row), field.attribute])) + ("" if index is None else f"[{index}]")
                        severity = "warning" if item is None and key in _TOLERATED else "error"
                        yield Problem(severity, *_broken(facts, target, scope, item, path, objects[row]))


def _broken(facts: Facts, target: str, scope: Scope | None, item: Any, path: str, owner: Any) -> tuple[str, str, str, str]:
    """Code, path, name and message for a reference to something that its list does not hold."""
    name = types.text(owner.name) if table_name(type(owner)) == "Tensor" else ""
    if item is None:
        return "reference-missing", path, name, f"refers to no {target}, and must"
    if isinstance(item, Dangling):
        if target == "ExternalBuffer":
            return "index-range", path, name, f"the model has no external buffer with id {item.index}"
        there = len(scope.subgraph.tensors) if target == "Tensor" and scope else len(facts.positions.of[target])
        return "index-range", path, name, f"{target} index {item.index} is out of range (there are {there})"
    if target == "Tensor" and item in facts.positions.of["Tensor"]:
        return "foreign-object", path, name, f"refers to tensor '{printable(item.name)}' of another subgraph"
    return "foreign-object", path, name, f"refers to a {target} that is not part of the model. Add it to the list that holds such objects."


def _sites(facts: Facts) -> Iterator[_Site]:
    """All tables with references, those of one class together, with their paths and the subgraph whose tensors they refer to."""
    model = facts.model
    yield [model], _fixed(""), None
    for attribute in ("metadata", "signature_defs", "external_buffers"):
        yield getattr(model, attribute), _indexed(attribute), None
    for number, signature in enumerate(model.signature_defs):
        target = facts.scope_of.get(signature.subgraph) if signature.subgraph is not None else None
        for attribute in ("inputs", "outputs"):
            yield getattr(signature, attribute), _indexed(f"signature_defs[{number}].{attribute}"), target
    for scope, quantized in facts.detailed:
        path = scope.path
        yield [scope.subgraph], _fixed(path), scope
        for attribute in ("tensors", "operators"):
            yield getattr(scope.subgraph, attribute), _indexed(f"{path}.{attribute}"), scope
        details = [(f"{path}.tensors[{i}].quantization.details", q.details) for i, _, q in quantized]
        yield from _singly(details, scope)
        for union in ("builtin_options", "builtin_options_2"):
            options = map(attrgetter(union), scope.subgraph.operators)
            found = [(f"{path}.operators[{i}].{union}", o) for i, o in enumerate(options) if type(o) in _REFERRING]
            yield from _singly(found, scope)


def _singly(found: list[tuple[str, Any]], scope: Scope) -> Iterator[_Site]:
    for path, value in found:
        if type(value) in _REFERRING:
            yield [value], _fixed(path), scope


# Option and quantization tables with references.
_REFERRING = {cls for union in UNIONS.values() for name in union.values() if reference_fields(cls := class_of(name))}

# ---- operators ----


def operand_order(facts: Facts) -> Iterator[Problem]:
    """An operator reads what earlier operators produced, graph inputs, constants or variables."""
    for scope in facts.scopes:
        held = {t for t in scope.produced if t.is_variable or t.external_buffer is not None or (t.buffer is not None and t.buffer.data)}
        available = (scope.tensors - scope.produced) | scope.inputs | held | {None}
        for index, operator in enumerate(scope.subgraph.operators):
            if not available.issuperset(operator.inputs):
                for position, tensor in enumerate(operator.inputs):
                    if tensor in scope.produced and tensor not in available and tensor not in operator.outputs:
                        message = f"reads '{printable(tensor.name)}' before any operator produced it" if tensor is not None else ""
                        yield scope.operator(index, "error", "operand-order", message, f"inputs[{position}]")
            available.update(operator.outputs)
            if operator.intermediates:
                available.update(operator.intermediates)


def own_output(facts: Facts) -> Iterator[Problem]:
    """No operator reads the tensor that it writes."""
    for scope in facts.scopes:
        operators = scope.subgraph.operators
        for index in [i for i, o in enumerate(operators) for tensor in o.outputs if tensor in o.inputs and tensor is not None]:
            for position, tensor in enumerate(operators[index].outputs):
                if tensor is not None and tensor in operators[index].inputs:
                    message = f"writes '{printable(tensor.name)}', which it also reads; runtimes refuse this"
                    yield scope.operator(index, "error", "own-output", message, f"outputs[{position}]")


def unproduced_operands(facts: Facts) -> Iterator[Problem]:
    """What operators read comes from somewhere."""
    no_data = (TensorType.RESOURCE, TensorType.VARIANT, TensorType.STRING)
    for scope in facts.scopes:
        read: set[Any] = set(chain.from_iterable([operator.inputs for operator in scope.subgraph.operators])) - scope.produced
        read = (read - scope.inputs) & scope.tensors
        sources: set[Any] = set(chain.from_iterable([o.intermediates for o in scope.subgraph.operators if o.intermediates]))
        missing = [t for t in read if t is not None and (t.buffer is None or not t.buffer.data) and t.external_buffer is None and not t.is_variable]
        missing = [t for t in missing if t not in sources and t.type not in no_data and types.element_count(t.shape)]
        for index, _ in scope.indices(missing):
            message = "is read by operators, but is no graph input, no constant, and nothing produces it"
            yield scope.tensor(index, "error", "operand-unproduced", message)


def duplicate_outputs(facts: Facts) -> Iterator[Problem]:
    """A tensor is produced once, and is then neither a graph input nor a constant."""
    for scope in facts.scopes:
        outputs = list(chain.from_iterable([operator.outputs for operator in scope.subgraph.operators]))
        counts = Counter(outputs) if len(outputs) != len(scope.produced) else {}
        for index, tensor in scope.indices([t for t in counts if t is not None and counts[t] > 1]):
            yield scope.tensor(index, "warning", "produced-twice", f"operators write it {counts[tensor]} times")
        for index, _ in scope.indices(scope.produced & scope.inputs):
            yield scope.tensor(index, "warning", "input-produced", "is a graph input, but an operator writes it")
        for index, _ in scope.indices([t for t in scope.produced if t.buffer is not None and t.buffer.data]):
            yield scope.tensor(index, "warning", "constant-produced", "has constant data, but an operator writes it")


def operator_options(facts: Facts) -> Iterator[Problem]:
    """The options of an operator are those of its kind, and flags of mutating inputs match the inputs."""
    for scope in facts.scopes:
        operators = scope.subgraph.operators
        pairs = {(o.opcode, type(o.builtin_options), type(o.builtin_options_2)) for o in operators}
        wrong = {pair for pair in pairs if _wrong_options(*pair)}
        for index, operator in enumerate(operators) if wrong else ():
            if (operator.opcode, type(operator.builtin_options), type(operator.builtin_options_2)) in wrong:
                yield _options_problem(scope, index, operator)
        for index, operator in enumerate(operators):
            flags = operator.mutating_variable_inputs
            if flags and len(flags) != len(operator.inputs):
                message = f"has {len(operator.inputs)} inputs, but {len(flags)} flags of mutating inputs"
                yield scope.operator(index, "warning", "mutating-inputs", message, "mutating_variable_inputs")


def _wrong_options(opcode: Any, *held: type) -> bool:
    if opcode is None or isinstance(opcode, Dangling):
        return False
    wanted = OPTIONS.get(opcode.code.name)
    return any(cls is not type(None) and cls.__name__ != wanted for cls in held)


def _options_problem(scope: Scope, index: int, operator: Operator) -> Problem:
    held = [o for o in (operator.builtin_options, operator.builtin_options_2) if o is not None]
    shown = " and ".join(f"unknown options (type {o.type})" if isinstance(o, OpaqueUnion) else kind_name(o) for o in held)
    wanted = "" if operator.opcode is None else OPTIONS.get(operator.opcode.code.name, "no builtin options")
    return scope.operator(index, "warning", "options-type", f"has {shown}, but takes {wanted}", "builtin_options")


# ---- subgraphs and signatures ----

# Attributes of options that hold subgraphs, with the inputs and outputs that each must have, from those of the operator.
_Arity = Callable[[int, int], tuple[int, int | None]]
_ARITY: dict[str, dict[str, _Arity]] = {
    "IfOptions": dict.fromkeys(("then_subgraph", "else_subgraph"), lambda i, o: (i - 1, o)),
    "WhileOptions": {"cond_subgraph": lambda i, o: (i, 1), "body_subgraph": lambda i, o: (i, i)},
    "StablehloWhileOptions": {"cond_subgraph": lambda i, o: (i, 1), "body_subgraph": lambda i, o: (i, i)},
    "CallOnceOptions": {"init_subgraph": lambda i, o: (0, 0)},
    "StableHLOCompositeOptions": {"decomposition_subgraph": lambda i, o: (i, o)},
}


def subgraph_calls(facts: Facts) -> Iterator[Problem]:
    """A subgraph that an operator calls takes and returns what the operator does."""
    for scope in facts.scopes:
        calling = [(i, o) for i, o in enumerate(scope.subgraph.operators) if type(o.builtin_options) in _REFERRING or o.builtin_options_2 is not None]
        for index, operator in calling:
            options = operator.options
            for attribute, arity in _ARITY.get(type(options).__name__, {}).items():
                called = getattr(options, attribute)
                if called not in facts.scope_of:
                    continue
                wanted = arity(len(operator.inputs), len(operator.outputs))
                has = len(called.inputs), len(called.outputs)
                if wanted != has:
                    message = "calls a subgraph with {} inputs and {} outputs, but passes {} and takes {}".format(*has, *wanted)
                    yield scope.operator(index, "error", "call-arity", message, f"builtin_options.{attribute}")


def signatures(facts: Facts) -> Iterator[Problem]:
    """Signatures have unique keys, and name the inputs and outputs of their subgraph, each once."""
    seen: set[bytes] = set()
    for number, signature in enumerate(facts.model.signature_defs):
        path, key = f"signature_defs[{number}]", signature.signature_key
        if key is None:
            yield Problem("error", "signature-key", f"{path}.signature_key", "", "the signature has no key; runtimes refuse it")
        elif key in seen:
            yield Problem("warning", "signature-key", f"{path}.signature_key", "", f"a second signature '{printable(key)}': callers get the first")
        seen.add(key or b"")
        if signature.subgraph in facts.scope_of and signature.subgraph is not None:
            yield from signature_side(f"{path}.inputs", "inputs", signature.inputs, signature.subgraph.inputs)
            yield from signature_side(f"{path}.outputs", "outputs", signature.outputs, signature.subgraph.outputs)


def signature_side(path: str, side: str, maps: list[TensorMap], tensors: list[Any]) -> Iterator[Problem]:
    """The `inputs` or `outputs` of a signature against those of its subgraph."""
    names: set[bytes | None] = set()
    for index, entry in enumerate(maps):
        where = f"{path}[{index}]"
        shown = "" if entry.tensor is None else types.text(entry.tensor.name)
        if entry.name is None or entry.name in names:
            what = "no name" if entry.name is None else f"the name '{printable(entry.name)}' of an earlier one"
            yield Problem("warning", "signature-name", f"{where}.name", shown, f"an entry with {what}: callers cannot reach it")
        names.add(entry.name)
        if entry.tensor is not None and not isinstance(entry.tensor, Dangling) and entry.tensor not in tensors:
            yield Problem("warning", "signature-tensor", f"{where}.tensor", shown, f"is not among the {side} of the subgraph")
    if len(maps) != len(tensors):
        message = f"the signature names {len(maps)} {side}, the subgraph has {len(tensors)}"
        yield Problem("warning", "signature-count", path, "", message)


def duplicate_names(facts: Facts) -> Iterator[Problem]:
    """Names tell tensors of a subgraph apart, and metadata apart."""
    for scope in facts.scopes:
        names = [tensor.name for tensor in scope.subgraph.tensors if tensor.name]
        repeated = {name: n for name, n in Counter(names).items() if n > 1} if len(set(names)) != len(names) else {}
        for index, tensor in enumerate(scope.subgraph.tensors) if repeated else ():
            count = repeated.pop(tensor.name, 0) if tensor.name else 0
            if count:
                yield scope.tensor(index, "info", "name-shared", f"{count} tensors of the subgraph have this name", "name")
    seen: set[bytes | None] = set()
    for index, entry in enumerate(facts.model.metadata):
        if entry.name in seen:
            yield Problem("info", "metadata-name", f"metadata[{index}]", "", f"a second entry named '{printable(entry.name)}'")
        seen.add(entry.name)


INVARIANTS: tuple[Callable[[Facts], Iterator[Problem]], ...] = (
    schema_version, required_lists, listed_once, operator_codes, references, operand_order, own_output, unproduced_operands, duplicate_outputs,
    operator_options, subgraph_calls, signatures, duplicate_names, *_tensor_invariants.INVARIANTS,
)  # fmt: skip
