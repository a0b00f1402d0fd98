"""Reports as Markdown."""

from __future__ import annotations

from tflitekit.reports.report import Cell, Code, Column, KeyValues, Note, Report, Table
from tflitekit.reports.to_markdown import to_markdown


def test_markdown() -> None:
    table = Table("t|", [Column("a"), Column("b", "right"), Column("c", optional=True)], [["x|y", Cell("<b>", "error"), ""]])
    report = Report("# no", [Note("*plain*"), KeyValues("k", [("-", "one"), ("key_1", "`two`")]), table, Code("code", "a ``` b\n<x>"), Table("", [])])
    assert to_markdown(report) == """\
# \\# no

\\*plain\\*

## k

- one
- **key\\_1**: \\`two\\`

## t\\|

| a | b |
|---|---:|
| x\\|y | \\<b\\> |

## code

````
a ``` b
<x>
````
"""


def test_commands_are_code() -> None:
    texts = ["a_b: `tflitekit audit a_b.tflite`.", "`tflitekit x|y`", "`tflitekit no end_", "\\`tflitekit a\n_``"]
    report = Report("t", [Note(texts[0]), Table("", [Column("c")], [[text] for text in texts])])
    assert to_markdown(report).splitlines()[2:] == [
        "a\\_b: `tflitekit audit a_b.tflite`.", "", "| c |", "|---|", "| a\\_b: `tflitekit audit a_b.tflite`. |", "| \\`tflitekit x\\|y\\` |",
        "| \\`tflitekit no end\\_ |", "| \\\\`tflitekit a\\x0a_`\\` |",
    ]  # fmt: skip
