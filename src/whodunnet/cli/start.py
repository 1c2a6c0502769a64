"""Where whodunnet begins, and where it ends if there is no memory left even to say so in the usual way."""

from __future__ import annotations

import os
import signal
from importlib import import_module

NO_MEMORY = b"whodunnet: not enough memory; there may be a limit: see `ulimit -v` and the memory limit of the cgroup\n"
EXIT_UNJUDGED = 2


def run() -> None:
    """Entry point. Until our modules are loaded Ctrl-C just ends us, as there is nobody yet to answer it.

    Who started us with SIGINT ignored, as a shell does in the background, keeps it so.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the launcher holds it back until here
    try:
        main = import_module("whodunnet.cli.main")
        signal.signal(signal.SIGINT, handler)
        main.run()
    except (MemoryError, SystemError):  # from where errors are answered: Python could not even make an exception
        try:
            os.write(2, NO_MEMORY)
        finally:
            os._exit(EXIT_UNJUDGED)
