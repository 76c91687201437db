"""The planner: a pure function from a snapshot and the time to a plan, whose actions the controller carries out."""
