"""One module per file of procfs: parse_* take bytes, read_* take roots."""
