"""Reading what users give to the commands: values, files, lists of nodes, runs of the probe."""
