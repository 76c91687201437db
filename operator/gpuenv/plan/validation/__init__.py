"""The desired state and the next run of a validation, that is, of one environment on one node."""
