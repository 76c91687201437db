"""What all commands share: options, errors, exit codes, and access to a cluster."""
