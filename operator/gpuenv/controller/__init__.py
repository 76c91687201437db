"""The impure shell of the operator: watches, one cache, one planner loop, one executor. It never decides."""
