"""The operator's process: it watches the cluster, calls the planner and carries out the plan.

All decisions are made by the planner.
"""
