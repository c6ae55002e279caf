"""The errors a person can cause or meet. The command line shows each as one panel and exits with its code.

FrameVitError               exit code 1: the run failed
├── UsageError              exit code 2: a path, flag or name that cannot be used
│   └── ConfigError         exit code 2: the configuration; lists every mistake, not only the first
├── DataError               exit code 1: the data set cannot be used as configured
│   └── RowError            one row or picture; readers collect these, and the message is the reason
├── ModelError              exit code 1: a model or its weights
│   └── DamagedModelError   exit code 2: files of a model that are damaged, or contradict each other
└── Interrupted             exit code 130 or 143: stopped by a signal, after saving

A broken invariant of the program itself is an `assert`, never one of these.
"""

from __future__ import annotations


class FrameVitError(Exception):
    """`message` says what happened and where; `hint` says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FrameVitError):
    """A path, flag or name that cannot be used."""

    exit_code = 2


class ConfigError(UsageError):
    """A wrong configuration; every mistake is a line of the message."""


class DataError(FrameVitError):
    """A data set that cannot be used as configured."""


class RowError(DataError):
    """A row or picture that cannot be used; the message is the reason, `code` the kind of finding in an audit."""

    def __init__(self, message: str, code: str = "FV101") -> None:
        super().__init__(message)
        self.code = code


class ModelError(FrameVitError):
    """A model folder that cannot be used: its weights, metadata or exported files."""


class DamagedModelError(ModelError):
    """Files of a model that cannot be believed: changed since they were written, or at odds with each other.

    Such a model could give wrong answers that look right, so it is refused before it gives any.
    """

    exit_code = 2


class Interrupted(FrameVitError):  # noqa: N818  (an event, not an error)
    """A run that was stopped by a signal; everything is saved, and `hint` is the command that resumes it."""

    def __init__(self, signal: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal
