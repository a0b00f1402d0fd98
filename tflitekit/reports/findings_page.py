"""The documentation page of all finding codes, made of `audit/codes.py`.

python -m tflitekit.reports.findings_page docs/findings.md writes it; a test compares the page in the repository with `findings_page()`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..audit import CODES, Code
from .to_markdown import literal

# Families by the first digit of their codes.
FAMILIES = {
    "0": "Files and runtimes in general",
    "1": "Activations",
    "2": "Weights",
    "3": "Biases",
    "4": "Parameters that operators demand",
    "5": "Ranges",
    "6": "Operators that a runtime lacks",
    "7": "Versions",
    "8": "Structure of the graph",
    "9": "Signatures and metadata",
}
INTRODUCTION = """\
# Findings

What `tflitekit audit` can find, by code. Codes are stable: a code that is no longer found is not used for anything else. `tflitekit explain CODE`
prints an entry of this page. The severity depends on the numbers and on the runtime: `error` where some runtime refuses the model, crashes, or
returns wrong values, `warning` where the file contradicts itself but every runtime known to us computes the right values or where something is
suspicious, `info` for what is worth knowing. `--runtime NAME` restricts that to one runtime.

This page is generated from the code: `python -m tflitekit.reports.findings_page docs/findings.md`.
"""


def findings_page() -> str:
    """The page as Markdown."""
    lines = [INTRODUCTION, "| code | what is found |", "|---|---|"]
    lines += [f"| [{code}](#{code.lower()}) | {literal(about.title)} |" for code, about in CODES.items()]
    for digit, family in FAMILIES.items():
        members = [about for code, about in CODES.items() if code[1] == digit]
        if members:
            lines += ["", f"## {family}", *(line for about in members for line in _entry(about))]
    return "\n".join(lines) + "\n"


def _entry(about: Code) -> list[str]:
    # The heading is the code alone, so that links to it survive a better title.
    repair = f"*What repairs it:* {literal(about.fix)}"
    return ["", f"### {about.code}", "", f"**{literal(about.title)}**", "", literal(about.explanation), "", repair]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tflitekit.reports.findings_page FILE")
    Path(sys.argv[1]).write_text(findings_page(), encoding="utf-8")
