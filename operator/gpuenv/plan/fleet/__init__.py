"""One environment on all its nodes: totals, conditions, status, Events, runs to start, removals."""
