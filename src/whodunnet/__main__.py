"""python -m whodunnet."""

from whodunnet.cli.start import run

run()
