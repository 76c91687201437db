"""The Kubernetes client: requests, limits, and the paths of the objects that the operator uses."""
