"""Simulates GPU nodes: their API objects, the behaviour of their kubelets, and the reports of their probes."""
