"""Command line: one entrypoint for operators and scripts."""
