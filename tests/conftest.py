"""For all tests."""

import signal

# Whoever starts us with nohup has it ignored; so would the programs that we start, which are asked what a hangup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
