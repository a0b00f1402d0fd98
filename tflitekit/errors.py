"""Every exception that leaves tflitekit.

    TFLiteKitError
    |- InputError            cannot be read: missing, a directory, empty, or another format
    |- CorruptError          not a structurally valid flatbuffer; says at which byte and where in the model
    |- LimitError            valid, but expands beyond a budget: refused before anything is decoded
    |- EditError             a value that the schema cannot hold, or an edit that makes no sense
    |- RefusedError          a rewriting that this model does not allow; nothing was changed
    |- PassError             a pass that did what it must not; nothing was changed
    |- SerializeError        the graph cannot be written: an object is missing from the lists that must hold it
    |  `- LossyWriteError    writing would lose something that the file has
    |- OutputError           the output cannot be written or must not be replaced
    `- RuntimeCheckError     an interpreter is missing, refused the model, crashed, or computed something else

`exit_code` is what the command line returns for it. RecoveryWarning is no error: reading found that an edit in place had been interrupted.
"""

from __future__ import annotations

from typing import Any


class TFLiteKitError(Exception):
    """Base of all errors of this package."""

    exit_code = 3


class InputError(TFLiteKitError):
    """The input cannot be read, or is not a TFLite file at all."""


class CorruptError(TFLiteKitError):
    """The bytes are not a valid flatbuffer of the TFLite schema.

    `offset` is the byte at which a check failed, `where` the path of the element that refers to it.
    """

    def __init__(self, what: str, offset: int = 0, where: str = "model") -> None:
        super().__init__(f"damaged at byte {offset} ({where}): {what}")
        self.what, self.offset, self.where = what, offset, where

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickling: the message may have been given a path in front."""
        return CorruptError, (self.what, self.offset, self.where), {"args": self.args}

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        """Restore the message."""
        self.args = (state or {}).get("args", self.args)


class LimitError(TFLiteKitError):
    """A small file that expands to far more than its size, as only crafted files do."""


class EditError(TFLiteKitError, ValueError):
    """A value of the wrong type, range or length for a schema field, or an edit that cannot be meant."""

    exit_code = 2


class RefusedError(TFLiteKitError):
    """A rewriting that this model does not allow, with the reason; nothing was changed."""

    exit_code = 4


class PassError(TFLiteKitError):
    """A pass changed what it does not declare, or left the model broken; nothing was changed. A fault of the pass."""


class SerializeError(TFLiteKitError):
    """The graph refers to something that is not part of the model."""


class LossyWriteError(SerializeError):
    """A rebuild would lose something; nothing was written."""

    exit_code = 4


class OutputError(TFLiteKitError):
    """The output file cannot be written."""


class RuntimeCheckError(TFLiteKitError):
    """A check in the runtime could not be made or failed.

    `status`: "missing" (no interpreter is installed), "refused", "memory", "timeout", the name of the signal that ended the interpreter's process
    ("SIGSEGV"), or "differs". `subject` is the name of the model that could not be run, if it is about one.
    """

    exit_code = 5

    def __init__(self, message: str, status: str = "differs", subject: str | None = None) -> None:
        super().__init__(message)
        self.status, self.subject = status, subject


class RecoveryWarning(UserWarning):
    """An edit in place of a file was interrupted; the text says what has become of it."""
