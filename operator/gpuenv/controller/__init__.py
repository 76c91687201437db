"""The operator's process: it watches the cluster, asks the planner what to do, and writes that. It decides nothing."""
