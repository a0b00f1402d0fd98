"""verify(model): every broken invariant of a model, as problems with a path and a severity.

`error`: LiteRT refuses the model, or an index points at nothing. `warning`: it loads, but something in it cannot be meant, or other runtimes refuse
it. `info`: unusual, harmless. Numerical rules of operators are not checked here, only what holds for any model.

One function states one invariant. Each first finds candidates with a set operation or one comprehension over all tensors or operators, since almost
all of them are fine, and builds messages and paths for those only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from . import graph
from ._base import Dangling, Field, Table, fields_of
from ._problem import Problem
