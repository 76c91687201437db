"""Readers for the inputs of commands: options, files, lists of nodes, and a run of the probe on this machine."""
