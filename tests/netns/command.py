"""The installed command, run as a user with certain rights would, and what it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from whodunnet.report.schema import schema_of

WHODUNNET = Path(sys.executable).with_name("whodunnet")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
ACCEPTED_STATUS = {0, 1, 2}


class Answer(NamedTuple):
    """What the command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def nobody_with(*capabilities: str) -> tuple[str, ...]:
    """setpriv(1) for a user with nothing but these, as "bpf"."""
    wanted = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return (*NOBODY, f"--inh-caps={wanted}", f"--ambient-caps={wanted}", f"--bounding-set={wanted}")


def mounted(*commands: str) -> tuple[str, ...]:
    """In a mount namespace of its own, after these commands of the shell."""
    return ("unshare", "--mount", "sh", "-ec", "; ".join((*commands, 'exec "$@"')), "sh")


def ask(*arguments: str, rights: Sequence[str] = (), environment: Iterable[tuple[str, str]] = ()) -> Answer:
    """Run the command. It never ends by a signal, and never with a traceback."""
    done = subprocess.run(
        [*rights, str(WHODUNNET), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | dict(environment),
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in ACCEPTED_STATUS, done
    return Answer(done.returncode, done.stdout, done.stderr)


def diagnose(*arguments: str, rights: Sequence[str] = ()) -> Answer:
    """A diagnosis as JSON that keeps the contract: its schema, and the exit status that its outcome means."""
    answer = ask("diagnose", "--format", "json", *arguments, rights=rights)
    assert answer.out, answer.err
    jsonschema.validate(answer.document, schema_of("diagnosis"))
    assert answer.status == {"finding": 1, "incomplete": 2, "healthy": 0}[answer.document["outcome"]]
    assert answer.err == ""
    return answer
