"""One environment on one node: its desired state and its next run."""
