"""The probe runs inside a user's PyTorch image and reports what it finds there; it judges nothing.

It needs Python 3.8 or newer and only the standard library. NVIDIA's NVML bindings (``pynvml``) are packed into the
same zip application. The probe imports nothing of the operator: the only contract between the two is the versioned
report schema, ``report.schema.json``.
"""

__version__ = "0.1.0"
