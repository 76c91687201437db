"""What people give to the commands: option values, files, lists of nodes, and the probe on this machine."""
