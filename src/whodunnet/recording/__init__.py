"""Save and load recordings."""
