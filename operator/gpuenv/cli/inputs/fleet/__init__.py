"""Reads lists of nodes, and the names of GPUs in them."""
