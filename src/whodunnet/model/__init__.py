"""Frozen data: samples, snapshots, recordings, workloads, findings, diagnoses. No I/O."""
