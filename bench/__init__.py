"""Benchmarks: each budget of the project as a command that anyone can run, see docs/performance.md."""
