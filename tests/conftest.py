"""For all tests."""

import os
import signal
import sys
from pathlib import Path

# Whoever starts us with nohup, or in a script's background, has these ignored; so would the programs that we start,
# which are asked what they do at a hangup or an interrupt.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# As where it is installed: whoever starts whodunnet anew for each test does not compile it anew each time.
os.environ |= {"PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
