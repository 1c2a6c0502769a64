"""Runs the rules, links consequences to their cause, ranks."""
