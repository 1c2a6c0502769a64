"""Expected reports are files that a person can read: tests/fixtures/report/<name>.<width>.txt.

WHODUNNET_REFRESH=1 pytest tests/unit/report   writes them anew; read the difference before you keep it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

FIXTURES = Path(__file__).parents[2] / "fixtures" / "report"


def printed(write: Callable[[Console], None], width: int, **console: object) -> str:
    """What `write` prints on a console that is no terminal."""
    out = io.StringIO()
    settings = {"force_terminal": False} | console
    write(Console(file=out, width=width, **settings))  # type: ignore[arg-type]
    return out.getvalue()


def compare(name: str, text: str) -> None:
    """Line by line with the file, which is written first if WHODUNNET_REFRESH is set."""
    path = FIXTURES / f"{name}.txt"
    if os.environ.get("WHODUNNET_REFRESH"):
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()
