"""Benchmarks: a few throughput figures per GPU, measured within seconds."""
