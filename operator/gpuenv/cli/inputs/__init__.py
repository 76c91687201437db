"""Readers for the inputs of commands: options, files, lists of nodes, and the probe on this machine."""
