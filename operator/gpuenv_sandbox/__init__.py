"""The sandbox: a real Kubernetes control plane on this machine, and simulated GPU nodes that join it.

No module outside this package knows that a node may be simulated.
"""
