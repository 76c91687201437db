"""Simulated GPU nodes: what they are, what their kubelets do, what their probes report."""
