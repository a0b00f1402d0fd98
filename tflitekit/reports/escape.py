"""Makes text from files safe to print: control characters become visible escapes."""

from __future__ import annotations

import unicodedata

# Categories that steer a terminal or cannot be seen: controls, formats (bidirectional overrides among them), surrogates, private use, line ends.
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def escape(text: str) -> str:
    r"""The text with control, format and other invisible characters as `\x1b`, `\u202e` or `\U000e0001`; the rest is left alone."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
