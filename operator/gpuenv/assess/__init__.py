"""The assessment: a pure function ``facts + expectations + knowledge -> checks -> verdict``."""
