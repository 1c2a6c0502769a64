"""Every decoder of input that others write, under a coverage-guided fuzzer; see docs/fuzzing.md."""
