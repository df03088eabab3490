"""What can go wrong."""

from __future__ import annotations


class AdvmodError(Exception):
    """The program ended with an error.

    ``exit_code`` is the program's: 2 for usage and configuration, 3 for model, data, device or disk.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ExportError(AdvmodError):
    """The module cannot be exported as what it computes. The message has the line that stands in the way."""


class DataError(AdvmodError, ValueError):
    """The images or labels are not what an audit needs."""
