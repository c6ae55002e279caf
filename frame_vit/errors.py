"""What can go wrong for a person, as exceptions that the command line shows as one panel.

FrameVitError               exit code 1: the run failed
├── UsageError              exit code 2: a path, a flag or a name that cannot be used as given
│   └── ConfigError         exit code 2: the configuration; carries every mistake found, not only the first
├── DataError               exit code 1: the data set cannot be used as configured
│   └── RowError            one row or picture; readers collect it, the reason is its message
├── ModelError              exit code 1: a model folder or its weights
└── Interrupted             exit code 130 or 143: asked to stop by a signal, and stopped after saving

A broken invariant of the program itself is an `assert`, never one of these.
"""

from __future__ import annotations


class FrameVitError(Exception):
    """What happened and where (`message`), and what to do about it (`hint`)."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FrameVitError):
    """A path, flag or name that cannot be used as given."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that is wrong: every mistake on a line of its own."""


class DataError(FrameVitError):
    """A data set that cannot be used as configured."""


class RowError(DataError):
    """One row or one picture that cannot be used; the message is the reason, `code` its kind in an audit."""

    def __init__(self, message: str, code: str = "FV101") -> None:
        super().__init__(message)
        self.code = code


class ModelError(FrameVitError):
    """A model folder, its weights or its settings."""


class Interrupted(FrameVitError):  # noqa: N818  (it is what happened, not an error)
    """A run that was asked to stop by a signal; everything is saved, and `hint` is the command that goes on."""

    def __init__(self, signal: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal
