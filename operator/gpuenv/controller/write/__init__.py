"""Everything that changes the cluster: the executor of plans, removals, Events."""
