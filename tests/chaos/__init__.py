"""Diagnosing while everything around changes, runs out, or ends."""
