"""Faults and look-alikes made real with real programs, and a score of what whodunnet says about them."""
