"""The assessment of an image on a node: a pure function ``facts + expectations + tables -> checks -> verdict``."""
