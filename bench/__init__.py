"""Benchmarks: ratios against a limit or a peer measured in the same run, never timed tests."""
