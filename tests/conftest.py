"""For all tests."""

import os
import signal
import sys
from pathlib import Path

# Whoever starts us with nohup has it ignored; so would the programs that we start, which are asked what a hangup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# As where it is installed: whoever starts whodunnet anew for each test does not compile it anew each time.
os.environ |= {"PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
