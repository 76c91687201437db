"""One environment on all its nodes: totals, conditions, status and Events."""
