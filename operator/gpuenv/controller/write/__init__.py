"""Everything that changes the cluster: carrying out plans, removing what was made, posting Events."""
