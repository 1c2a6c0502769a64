"""One module per subject of the machine; each returns one sample."""
