"""Side-by-side measurements: whodunnet against what a user would run instead. Run as root: python -m bench."""
