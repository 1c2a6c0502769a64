"""The option --pods: a file in which kubectl says which pod has which address."""

from __future__ import annotations

from typing import IO

import click

from whodunnet.errors import UsageError
from whodunnet.model.text import clean
from whodunnet.report.pod_names import PodNames, parse_pods

LIMIT_BYTES = 512 << 20
"""40,000 pods of 12 KB each, in one piece of memory while they are decoded."""


PODS_HELP = "Name pods of other nodes: output of kubectl get pods -A -o json, - for standard input."


class PodsFile(click.ParamType[PodNames]):
    """Read when the command line is: a wrong file is said before the window, not after it."""

    name = "file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PodNames:  # noqa: ARG002
        return value if isinstance(value, PodNames) else read_pods(str(value))


def read_pods(path: str) -> PodNames:
    """What kubectl wrote to a file, "-" for standard input. Raises UsageError."""
    try:
        with click.open_file(path, "rb") as file:
            return parse_pods(_read(file, path), clean(path))
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"--pods {clean(path)}: {reason}") from error


def _read(file: IO[bytes], path: str) -> bytes:
    data = file.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        limit = f"more than {LIMIT_BYTES >> 20} MiB"
        raise UsageError(f"--pods {clean(path)} has {limit}; write one of fewer namespaces (kubectl get pods -n NAME)")
    return data
