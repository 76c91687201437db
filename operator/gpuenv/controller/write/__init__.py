"""All code that changes the cluster: it carries out plans, removes what gpuenv made, and posts Events."""
