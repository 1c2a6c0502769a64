"""Every exception whodunnet raises on purpose.

WhodunnetError
├── UsageError            the command line asks for something that does not exist (exit status 2)
├── UnreadableError       a file, socket or program of the kernel could not be read
│   └── MalformedError    it was read, but does not look as the kernel writes it
└── RecordingError        a recording cannot be loaded or saved
"""

from __future__ import annotations

from typing import Literal

FailureCode = Literal[
    "missing-capability",  # it could be read with one more right
    "missing-file",  # the kernel or the machine does not offer it
    "unsupported",  # this kernel lacks a feature that the collector needs
    "unreadable",  # it exists, but reading failed
    "malformed",  # it was read, but not understood
    "not-collected",  # nobody asked for it, or it was switched off
    "vanished",  # it went away while being read
]


class WhodunnetError(Exception):
    """Base of all; its text is a sentence for the user."""


class UsageError(WhodunnetError):
    """An option or value that is not accepted; the text says what is."""


class UnreadableError(WhodunnetError):
    """A source could not be read.

    code: the stable word for reports.
    missing_capability: the capability that would have allowed it, if that is the reason.
    """

    def __init__(self, text: str, code: FailureCode = "unreadable", missing_capability: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.missing_capability = missing_capability


class MalformedError(UnreadableError):
    """Bytes from the kernel that do not have the expected form; the text names path and item."""

    def __init__(self, text: str) -> None:
        super().__init__(text, code="malformed")


class RecordingError(WhodunnetError):
    """A recording that is foreign, truncated, or of a newer schema."""
