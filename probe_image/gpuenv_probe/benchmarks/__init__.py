"""Benchmarks: ten throughput figures per GPU, such as TFLOPS of a matrix product, measured in under a minute."""
