"""A Kubernetes control plane on this machine: processes, certificates, a small client."""
