"""The schemas of both statuses, and the function that fits a value to a schema."""
