"""Reads scenario files, which define a sandbox's nodes, the content of container images, and what is broken."""
