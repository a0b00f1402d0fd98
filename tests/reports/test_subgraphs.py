"""The tree of subgraphs: what runs what, in any shape, also in circles, and where a terminal has no lines to draw with."""

from __future__ import annotations

import io

from tflitekit._schema import BuiltinOperator, CallOnceOptions, WhileOptions
from tflitekit.graph import Model, Operator, OperatorCode, SubGraph
from tflitekit.reports.layout import lay_out
from tflitekit.reports.render import plain, show
from tflitekit.reports.report import Report
from tflitekit.reports.subgraphs import DEPTH, callers_facts, tree_facts, tree_table


def model(names: list[str], calls: list[tuple[int, int, int]], once: tuple[tuple[int, int], ...] = ()) -> Model:
    """Subgraphs with a WHILE for each (caller, condition, body), and a CALL_ONCE for each (caller, initializer)."""
    graphs = [SubGraph(name=name) for name in names]
    loop, call = OperatorCode(builtin_code=BuiltinOperator.WHILE), OperatorCode(builtin_code=BuiltinOperator.CALL_ONCE)
    for caller, condition, body in calls:
        options = WhileOptions(cond_subgraph=graphs[condition], body_subgraph=graphs[body])
        graphs[caller].operators.append(Operator(opcode=loop, builtin_options=options))
    for caller, initializer in once:
        graphs[caller].operators.append(Operator(opcode=call, builtin_options=CallOnceOptions(init_subgraph=graphs[initializer])))
    return Model(subgraphs=graphs, operator_codes=[loop, call])


def tree(made: Model) -> list[str]:
    facts = tree_facts(made)
    return [plain(line) for line in lay_out(Report("t", [tree_table(facts, [], [[] for _ in facts])]), 80)][3:]


def test_branches() -> None:
    made = model(["main", "cond", "body", "deep cond", "deep body", "init"], [(0, 1, 2), (2, 3, 4)], ((0, 5),))
    assert tree(made) == [
        "#  name             run by",
        "0  main",
        "1  ├─ cond          WHILE 0:0 cond",
        "2  ├─ body          WHILE 0:0 body",
        "3  │  ├─ deep cond  WHILE 2:0 cond",
        "4  │  └─ deep body  WHILE 2:0 body",
        "5  └─ init          CALL_ONCE 0:1 init",
    ]
    assert callers_facts(made)[4] == [{"subgraph": 2, "index": 0, "name": "WHILE", "role": "body"}]


def test_shared_and_circular_subgraphs_stand_once() -> None:
    made = model(["main", "a", "b"], [(0, 1, 2), (1, 0, 2), (2, 2, 2)])
    rows = tree(made)[1:]
    assert sorted(row[0] for row in rows) == ["0", "1", "2"] and "and 3 more" in "".join(rows)


def test_depth_is_bounded() -> None:
    count = 3000
    rows = tree(model([f"s{i}" for i in range(count)], [(i, i + 1, i + 1) for i in range(count - 1)]))
    assert max(map(len, rows)) <= 80 and sum(row.lstrip().split(" ")[0].isdigit() for row in rows) >= count
    facts = tree_facts(model(["a"] * 40, [(i, i + 1, i + 1) for i in range(39)]))
    assert max(len(str(row[1][0])) for row in tree_table(facts, [], [[]] * 40).rows) == 3 * DEPTH + 1


def test_without_line_drawing_characters() -> None:
    facts = tree_facts(model(["main", "cond", "body"], [(0, 1, 2)]))
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    show(Report("t", [tree_table(facts, [], [[], [], []])]), file)
    file.flush()
    assert raw.getvalue().decode().splitlines()[5:] == ["1  |- cond  WHILE 0:0 cond", "2  `- body  WHILE 0:0 body"]
