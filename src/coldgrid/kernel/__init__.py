"""Kernel: the log, its decider and what every room rests on. It knows nothing of cold chains."""
