"""`requantize-weights`: plan for every constant, encode, keep what costs too much as it was, and put the rest into the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._crew import share
from ..._schema import BlockwiseQuantization, TensorType
from ...errors import EditError, RefusedError
from ...graph import Buffer, Model, Operator, QuantizationParameters, SubGraph, Tensor
from ...quant.kernels import Floats
from ...types import FLOAT_TYPES, INTEGER_RANGES, byte_size
from ..base import Notes, Progress
from ..bias import BiasKeeper, BiasUse, reencoded
from ..costs import Cost, beyond, tell, tell_total
from ..parameters import chosen
from ..surgery import (
    convert,
    first_reader,
    keep_up,
    operators_of,
    own_copy,
    raise_versions,
    redirect,
    remove_unused,
    tensor_like,
    unique_name,
)
from .choices import Choice, choice_for
from .constants import Constant, constants
from .encode import Encoding, Stored, encode, stored
from .plan import Plan, plan, together

if TYPE_CHECKING:
    from ..requantize_weights import RequantizeWeights

# Bytes of results that one run keeps; what goes beyond is computed when it is written.
KEPT = 4 << 20
# The largest code of a bias that new weight scales are chosen for: half of what INT32 holds, as TensorFlow's tools do it.
_ROOM = 2.0**30


@dataclass(eq=False)
class Job:
    """A constant with its plan, its new contents, and the bytes that it took."""

    plan: Plan
    made: Encoding
    before: int

    @property
    def cost(self) -> Cost:
        """What it costs. Its bytes are those of data and block scales."""
        one, made = self.plan, self.made
        kind = one.granularity.value if one.granularity is not None else ""
        scales = made.parameters.scale if made.parameters is not None and made.block else ()
        return Cost(
            one.constant.tensor, one.type, f"blockwise-{made.block}" if made.block else kind, one.form, self.before,
            len(made.data) + 2 * len(scales), (id(made), id(made)), made.loss, made.exact, tuple(runtime.value for runtime in one.runtimes),
        )  # fmt: skip


def requantize(options: RequantizeWeights, model: Model, notes: Notes) -> None:
    """Encode the chosen weights again, or, with `try_`, only say what each choice would cost."""
    picked = _picked(options, model, notes)
    if options.try_:
        for number, choice in enumerate(options.try_):
            tried = [job.cost for job in _jobs(options, model, picked, choice, notes, number)]
            if tried:
                tell_total(tried, notes, str(choice))
            else:
                there = any(isinstance(found, Plan) and _is_there(found) for found in (plan(constant, choice) for constant in picked))
                notes.remark(None, f"{choice}: {'what can be encoded so is already' if there else 'nothing can be encoded so'}", choice=str(choice))
        return
    jobs = _jobs(options, model, picked, options.choice, notes)
    if not jobs:
        notes.remark(None, "no weights were changed")
        return
    keeper, before = BiasKeeper(model), operators_of(model)
    put(model, jobs)
    costs = [job.cost for job in jobs]
    for cost in costs:
        tell(cost, notes)
    keeper.restore(notes)
    raised = raise_versions(model)
    for code, old in raised:
        notes.remark(None, f"{code.op_name}: version {old} raised to {code.version}, which its types need")
    keep_up(model, before, notes, [code for code, _ in raised])
    tell_total(costs, notes)


def _picked(options: RequantizeWeights, model: Model, notes: Notes) -> list[Constant]:
    """The constants that the options are about; EditError for a name that none has. What else is asked for and not there is noted."""
    found = constants(model)
    for number, rule in enumerate(options.recipe or (), 1):
        if not any(rule.matches(one.tensor.name_str, one.operators) for one in found):
            asked = [f"{key} {', '.join(map(repr, asked))}" for key, asked in (("tensor", rule.tensors), ("operator", rule.operators)) if asked]
            notes.remark(None, f"entry {number} of the recipe matches no weights: {' and '.join(asked)}")
    if options.tensor:
        named = set(chosen(model, options.tensor))
        found = [one for one in found if one.tensor in named]
        if not found:
            raise EditError("requantize-weights: the tensors that are named are no weights of an operator")
    if options.operator:
        wanted = {name.upper() for name in options.operator}
        readers = {name for one in found for name in one.operators}
        if missing := wanted - readers:
            notes.remark(None, f"no weights are read by {', '.join(sorted(missing))}, but by {', '.join(sorted(readers)) or 'no operator'}")
        found = [one for one in found if one.operators & wanted]
    return [one for one in found if int(np.prod(one.tensor.shape, dtype=np.int64)) >= options.min_elements]


def _jobs(
    options: RequantizeWeights, model: Model, picked: Sequence[Constant], choice: Choice, notes: Notes, number: int | None = None
) -> list[Job]:
    """What is to be done; what is asked for and cannot be done is noted."""
    plans, refused = _plans(options, picked, choice, number is None)
    orders, biases = [], _biases(model)
    for constant in picked:
        one = plans.get(constant)
        if one is not None and not _is_there(one):
            order = _order(one, biases)
            if isinstance(order, str):
                refused[constant] = order
            else:
                orders.append(order)
    working = notes.working if number is None else _part_of(notes, number, len(options.try_ or ()))
    made = _encodings(orders, options.measured, KEPT if number is None else 0, working)
    jobs: list[Job] = []
    for order in orders:
        job = _job(order, made[order.key])
        if isinstance(job, str):
            refused[order.plan.constant] = job
        else:
            jobs.append(job)
    stays = {constant: one for constant, one in plans.items() if constant not in refused}
    together(stays, refused)
    jobs = [job for job in jobs if job.plan.constant in stays]
    beside = _beside(model, jobs, options.measured)
    freed = {job.plan.constant.tensor for job in beside}
    for constant in picked:
        if constant in refused and constant.tensor not in freed:
            said = f"stays {constant.tensor.type.name}: {refused[constant]}" if number is None else f"{choice}: {refused[constant]}"
            notes.refused(constant.tensor, said, **({} if number is None else {"choice": str(choice)}))
    jobs += beside
    if number is not None:
        for job in jobs:
            tell(job.cost, notes, str(choice))
    return jobs


def _plans(
    options: RequantizeWeights, picked: Sequence[Constant], choice: Choice, by_recipe: bool
) -> tuple[dict[Constant, Plan], dict[Constant, str]]:
    """How each constant is to be stored, and why some cannot be."""
    plans: dict[Constant, Plan] = {}
    refused: dict[Constant, str] = {}
    for constant in picked:
        own = choice_for(choice, options.recipe or (), constant.tensor.name_str, constant.operators) if by_recipe else choice
        if own.to:
            found = plan(constant, own)
            if isinstance(found, str):
                refused[constant] = found
            else:
                plans[constant] = found
    return plans, refused


def _part_of(notes: Notes, turn: int, turns: int) -> Progress:
    """What tells how far one of several choices is: each is a part of the whole, so that what is shown goes on where the last one ended."""
    return lambda done, total, name: notes.working(turn * total + done, turns * total, name)


def _beside(model: Model, jobs: Sequence[Job], measured: bool) -> list[Job]:
    """The FLOAT16 biases of operators that become hybrid, as FLOAT32: XNNPACK refuses such operators if DEQUANTIZE makes the bias of FLOAT16."""
    hybrid = {r.operator for job in jobs if job.plan.type not in FLOAT_TYPES for r in job.plan.direct if r.takes_floats}
    done = {job.plan.constant.tensor for job in jobs}
    found = [one for one in constants(model) if one.tensor not in done] if hybrid else []
    found = [one for one in found if one.tensor.type == TensorType.FLOAT16 and any(reader.operator in hybrid for reader in one.readers)]
    return [job for job in as_float32(found, measured) if isinstance(job, Job)]


def as_float32(found: Sequence[Constant], measured: bool = False) -> list[Job | str]:
    """How each of the constants becomes FLOAT32, which its readers take without a DEQUANTIZE, or why it does not."""
    plans = [plan(constant, Choice("float32")) for constant in found]
    orders = [_order(one, {}) if isinstance(one, Plan) else one for one in plans]
    made = _encodings([order for order in orders if isinstance(order, Order)], measured, KEPT, lambda *_: None)
    return [_job(order, made[order.key]) if isinstance(order, Order) else order for order in orders]


def _is_there(one: Plan) -> bool:
    """Whether a constant is already as it is to be."""
    tensor, q = one.constant.tensor, one.constant.tensor.quantization
    if tensor.type != one.type:
        return False
    held = {id(reader.operator) for reader in one.constant.readers if reader.tensor is tensor}
    if any(id(reader.operator) not in held for reader in one.direct) or any(reader.tensor is tensor for reader in one.explicit):
        return False
    if q is None or not q.is_quantized or one.granularity is None:
        return True
    if bool(np.any(q.zero_point)) and not one.choice.asymmetric:
        return False
    if isinstance(q.details, BlockwiseQuantization):
        return q.details.block_size == one.choice.block
    several = len(q.scale) > 1
    wanted = one.granularity.value
    if one.choice.granularity == "auto":
        return one.granularity.value == "per-channel" or not several
    return q.kind == wanted or (len(q.scale) == 1 and one.axis is not None and tensor.shape[one.axis] == 1)


@dataclass(frozen=True, eq=False)
class Order:
    """A constant that is to be encoded: what is stored, the biases that depend on it, and the least scales. Those with equal keys become the same."""

    plan: Plan
    source: Stored
    uses: Sequence[BiasUse]
    floor: Floats | None

    @cached_property
    def key(self) -> Any:
        """All that decides what comes out."""
        one, tensor = self.plan, self.plan.constant.tensor
        floor = b"" if self.floor is None else self.floor.tobytes()
        return (id(tensor.buffer), tensor.type, tensor.shape, _bits(self.source), one.type, one.granularity, one.axis, one.choice, floor)

    @property
    def size(self) -> int:
        """Bytes that are made."""
        return byte_size(self.plan.type, self.source.shape) or 0


def _order(one: Plan, biases: dict[int, list[BiasUse]]) -> Order | str:
    """What is to be encoded, or why it stays as it is."""
    uses = [use for reader in one.constant.readers for use in biases.get(id(reader.operator), ()) if f"in{reader.position}" in use.rule.factors]
    try:
        return Order(one, stored(one.constant.tensor), uses, _floor(one, uses))
    except (EditError, RefusedError) as error:
        return str(error)


def _encodings(orders: Sequence[Order], measured: bool, room: int, working: Progress) -> dict[Any, Encoding | str]:
    """What comes out for every key, or why nothing does. `room` is how many bytes of results are kept; the rest is computed when it is written."""
    made: dict[Any, Encoding | str] = {}
    todo: list[tuple[Order, bool]] = []
    for order in {order.key: order for order in orders}.values():
        kept = order.size <= room
        room -= order.size * kept
        todo.append((order, kept))

    def work(items: Iterator[tuple[Order, bool]]) -> None:
        for order, kept in items:
            one = order.plan
            working(len(made), len(todo), one.constant.tensor.name_str)
            try:
                made[order.key] = encode(
                    order.source, one.choice, one.granularity, one.axis, order.floor, measured or _has_limit(one.choice), kept
                )
            except (EditError, RefusedError) as error:
                made[order.key] = str(error)

    todo.sort(key=lambda item: -item[0].source.size)
    share(todo, work, sum(order.source.size for order, _ in todo))
    return made


def _job(order: Order, made: Encoding | str) -> Job | str:
    """The new contents of a constant, or why it stays as it is."""
    one, tensor = order.plan, order.plan.constant.tensor
    if isinstance(made, str):
        return made
    try:
        _check_biases(one, made, order.uses)
    except (EditError, RefusedError) as error:
        return str(error)
    broken = beyond(made.loss, one.type, one.choice.min_sqnr, one.choice.max_error)
    if broken:
        return broken
    scales = tensor.quantization.details.scales if _blockwise(tensor) else None  # type: ignore[union-attr]
    return Job(one, made, len(order.source.data) + (0 if scales is None or scales.buffer is None else len(scales.buffer.data or b"")))


def _has_limit(choice: Choice) -> bool:
    return choice.min_sqnr is not None or choice.max_error is not None


def _blockwise(tensor: Tensor) -> bool:
    return tensor.quantization is not None and isinstance(tensor.quantization.details, BlockwiseQuantization)


def _bits(source: Stored) -> bytes:
    return b"" if source.parameters is None else source.parameters.scale.tobytes() + source.parameters.zero_point.tobytes()


# ---- biases ----


def _biases(model: Model) -> dict[int, list[BiasUse]]:
    """The integer biases, by their operator."""
    found: dict[int, list[BiasUse]] = {}
    for use in BiasKeeper(model).before:
        found.setdefault(id(use.operator), []).append(use)
    return found


def _input_scale(use: BiasUse, tensor: Tensor) -> float:
    """What a code of the bias means, over the scale of the weights. RefusedError where that is no scale."""
    assert tensor.quantization is not None
    with np.errstate(all="ignore"):
        found = float(np.float64(use.scales[0]) / np.float64(tensor.quantization.scale[0]))
    if not 0 < found < np.inf:
        raise RefusedError(f"the scales of {use.operator.op_name}, whose bias {use.tensor.name_str!r} depends on them, are not all positive numbers")
    return found


def _floor(one: Plan, uses: Sequence[BiasUse]) -> Floats | None:
    """The least scales at which the biases still fit: a channel of zeros would get a scale so small that its bias overflows."""
    least = np.zeros(1)
    for use in uses:
        real = np.abs(use.tensor.numpy().astype(np.float64) * use.scales.astype(np.float64)).reshape(-1)
        limit = _ROOM if INTEGER_RANGES[use.tensor.type][1] < 2**40 else 2.0**62
        least = np.maximum(least, real / (_input_scale(use, one.constant.tensor) * limit))
    if not least.any():
        return None
    channels = one.constant.tensor.shape[one.axis] if one.axis is not None and one.granularity is not None else 1
    if one.granularity is None or one.granularity.value != "per-channel" or len(least) != channels:
        least = least.max(keepdims=True)
    return np.asarray(np.nextafter(least.astype(np.float32), np.float32(np.inf)), np.float32)


def _check_biases(one: Plan, made: Encoding, uses: Sequence[BiasUse]) -> None:
    """RefusedError if a bias does not fit at the new scales."""
    for use in uses:
        if made.parameters is not None:
            reencoded(use.tensor, use.scales, (np.float32(_input_scale(use, one.constant.tensor)) * made.parameters.scale).astype(np.float32))


# ---- the graph ----


def put(model: Model, jobs: Sequence[Job]) -> list[Tensor]:
    """Give the constants their new contents, and every reader what it is to read; what nobody needs any more goes. Returns the constants' tensors."""
    jobs = [_apart(job) for job in jobs]
    _place(model, jobs)
    leftover = [thing for job in jobs for thing in _rewire(model, job)]
    _clear(model, jobs, leftover)
    return [job.plan.constant.tensor for job in jobs]


def _apart(job: Job) -> Job:
    """The job on a copy of its constant where others go on reading the constant as it is."""
    one, constant = job.plan, job.plan.constant
    if not constant.kept:
        return job
    copy = Constant(constant.subgraph, own_copy(constant.subgraph, constant.tensor), constant.readers, constant.dequantizes)
    return Job(replace(one, constant=copy), job.made, job.before)


def _place(model: Model, jobs: Sequence[Job]) -> None:
    """Give the tensors their new data. What shared a buffer and is encoded alike shares one again; data that nobody uses any more goes."""
    held = model.buffer_users()
    elsewhere = {id(entry.buffer) for entry in model.metadata} | {id(buffer) for buffer in model.metadata_buffer}
    elsewhere |= {id(buffer) for buffer in model.buffers[:1]}
    moving: dict[Buffer, dict[int, list[Job]]] = {}
    for job in jobs:
        buffer = job.plan.constant.tensor.buffer
        assert buffer is not None
        moving.setdefault(buffer, {}).setdefault(id(job.made), []).append(job)
    for buffer, groups in moving.items():
        stays = id(buffer) in elsewhere or len(held[buffer]) > sum(map(len, groups.values()))
        for number, group in enumerate(groups.values()):
            data = group[0].made.data
            target = model.add_buffer(data) if stays or number else buffer
            target.data = data
            for job in group:
                job.plan.constant.tensor.buffer = target


def _rewire(model: Model, job: Job) -> list[Operator | Tensor]:
    """Give a tensor its type and parameters, and every reader the tensor that it is to read; returns what is no longer needed for it."""
    one, made = job.plan, job.made
    constant, tensor, subgraph = one.constant, one.constant.tensor, one.constant.subgraph
    old_scales = [tensor.quantization.details.scales] if _blockwise(tensor) else []  # type: ignore[union-attr]
    tensor.type = made.type
    tensor.quantization = _parameters(model, subgraph, tensor, made)
    for reader in one.direct:
        redirect([reader.operator], reader.tensor, tensor)
    shown = [operator for operator in constant.dequantizes if any(operator.outputs[0] is t for t in subgraph.outputs)]
    if made.type == TensorType.FLOAT32:  # of which there is no DEQUANTIZE: the output is the constant
        for target in (operator.outputs[0] for operator in shown):
            target.buffer = tensor.buffer  # type: ignore[union-attr]
        shown = []
    keep: list[Any] = list(shown)
    if one.explicit:
        operator = next(iter([*shown, *constant.dequantizes]), None)
        if operator is None:
            target = tensor_like(model, subgraph, tensor, "_dequantized", TensorType.FLOAT32, None)
            position = min(first_reader(subgraph, reader.tensor) for reader in one.explicit)
            operator = convert(model, subgraph, tensor, target, position)
        keep.append(operator)
        for reader in one.explicit:
            redirect([reader.operator], reader.tensor, operator.outputs[0])  # type: ignore[arg-type]
    gone = [operator for operator in constant.dequantizes if all(operator is not kept for kept in keep)]
    return [*gone, *(t for t in (*(operator.outputs[0] for operator in gone), *old_scales) if t is not None)]


def _clear(model: Model, jobs: Sequence[Job], leftover: Sequence[Operator | Tensor]) -> None:
    """Take out operators that are no longer needed, then tensors and data that nothing refers to any more."""
    gone = {id(thing) for thing in leftover}
    removed: list[Tensor] = []
    for subgraph in dict.fromkeys(job.plan.constant.subgraph for job in jobs):
        if any(id(operator) in gone for operator in subgraph.operators):
            subgraph.operators = [operator for operator in subgraph.operators if id(operator) not in gone]
        candidates = [tensor for tensor in subgraph.tensors if id(tensor) in gone]
        removed += remove_unused(model, subgraph, candidates) if candidates else []
    users = model.buffer_users() if removed else {}
    for tensor in removed:
        if tensor.buffer is not None and tensor.buffer.data is not None and tensor.buffer not in users:
            tensor.buffer.data = None


def _parameters(model: Model, subgraph: SubGraph, tensor: Tensor, made: Encoding) -> QuantizationParameters | None:
    if made.parameters is None:
        return None
    if not made.block:
        return QuantizationParameters(scale=made.parameters.scale, zero_point=made.parameters.zero_point, quantized_dimension=made.axis)
    shape = (*tensor.shape[:-1], tensor.shape[-1] // made.block)
    scales = subgraph.add_tensor(Tensor(
        name=unique_name(subgraph, (tensor.name or b"") + b"_scales"), shape=shape, type=TensorType.FLOAT16, has_rank=tensor.has_rank,
        buffer=model.add_buffer(made.parameters.scale.astype(np.float16).view(np.uint8)),
    ))  # fmt: skip
    return QuantizationParameters(details=BlockwiseQuantization(scales=scales, block_size=made.block))
