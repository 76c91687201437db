"""A real Kubernetes control plane on this machine, and simulated GPU nodes that join it.

Stand-ins live here: nothing outside this package knows that a node may be simulated.
"""
