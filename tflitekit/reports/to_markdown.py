"""A report as Markdown (tables as in GitHub's dialect)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .escape import escape
from .layout import histogram_lines
from .report import Code, Histogram, KeyValues, Note, Report, Table, Value, cell

_COMMAND = re.compile(r"(`tflitekit [^`|]*`)")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#&])")


def to_markdown(report: Report) -> str:
    """The report as Markdown text, with everything that Markdown or HTML would interpret escaped."""
    return "\n".join([f"# {literal(report.title)}", *_sections(report)]) + "\n"


def literal(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return _SPECIAL.sub(r"\\\1", escape(text))


def prose(text: str) -> str:
    """A text that Markdown shows as it is, with `tflitekit commands` as code, so that they can be copied from the source too."""
    return "".join(escape(piece) if at % 2 else literal(piece) for at, piece in enumerate(_COMMAND.split(text)))


def escape_lines(text: str) -> str:
    """Source text with control characters escaped, line by line."""
    return "\n".join(map(escape, text.splitlines()))


def _sections(report: Report) -> Iterator[str]:
    for section in report.sections:
        if isinstance(section, Note):
            yield f"\n{prose(section.text)}"
        elif isinstance(section, Code):
            # Longer than any run of backticks in the text.
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", section.text)), 0)
            yield f"\n## {literal(section.title)}\n\n{fence}\n{escape_lines(section.text)}\n{fence}"
        elif isinstance(section, Histogram):
            if any(section.counts):
                lines = ["".join(part.text for part in line).rstrip() for line in histogram_lines(section, None)]
                yield "\n```\n" + "\n".join(lines) + "\n```"
        elif section.rows:
            if section.title:
                yield f"\n## {literal(section.title)}"
            yield ""
            yield from _items(section) if isinstance(section, KeyValues) else _table(section)


def _items(section: KeyValues) -> Iterator[str]:
    for label, value in section.rows:
        head = "" if label == "-" else f"**{literal(label)}**: "
        yield f"- {head}{prose(cell(value).text)}"


def _table(section: Table) -> Iterator[str]:
    shown = [i for i, column in enumerate(section.columns) if not column.optional or any(cell(row[i]).text for row in section.rows)]
    yield _row([section.columns[i].name for i in shown])
    yield "|" + "|".join("---:" if section.columns[i].justify == "right" else "---" for i in shown) + "|"
    for row in section.rows:
        yield _row([row[i] for i in shown])


def _row(values: list[Value] | list[str]) -> str:
    return "| " + " | ".join(prose(cell(value).text) for value in values) + " |"
