"""A Kubernetes control plane on this machine: its processes, its certificates and a small client."""
