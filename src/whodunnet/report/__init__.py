"""Renders a diagnosis: text, json, npd."""
