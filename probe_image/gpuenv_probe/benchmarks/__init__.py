"""Benchmarks: a few honest figures per GPU."""
