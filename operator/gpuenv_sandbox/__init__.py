"""A real Kubernetes control plane on this machine, and simulated GPU nodes that join it.

Nothing outside this package knows that a node may be simulated.
"""
