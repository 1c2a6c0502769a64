"""Samples from files copied from another machine, in place of a collector's own reading."""
