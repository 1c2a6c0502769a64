"""python -m whodunnet."""

from whodunnet.cli.main import run

run()
