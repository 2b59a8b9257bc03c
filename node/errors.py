"""Errors that a person at the command line can do something about: shown as one line, without a traceback.

OperatorError           exit status 1: it failed
├── ConfigError         2: `cluster.toml` or the environment is wrong
├── SecretsError        2: the secrets are missing, exposed, broken, or already there
├── LifelineError       2: `serve --lifeline` without a pipe
└── LocalClusterError   1: a node process did not start, did not get ready, or is not in the needed state
"""

from __future__ import annotations

from typing import ClassVar


class OperatorError(Exception):
    """Its text says what failed, with the value, and what to do next."""

    exit_status: ClassVar[int] = 1


class ConfigError(OperatorError):
    """The configuration cannot be used. The text names the file or variable, the key, the value, and what to do."""

    exit_status = 2


class SecretsError(OperatorError):
    """The secrets are missing, exposed, broken, or already there."""

    exit_status = 2


class LifelineError(OperatorError):
    """Standard input is not the pipe of a parent."""

    exit_status = 2


class LocalClusterError(OperatorError):
    """A node process did not start, did not get ready, or is not in the state that an operation needs."""
