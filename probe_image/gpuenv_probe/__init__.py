"""The probe runs inside a user's PyTorch image and reports the facts that it finds there; it gives no verdict.

It needs Python 3.8 or newer and only the standard library. The probe is delivered as a zip application that also
contains NVIDIA's NVML bindings (``pynvml``). It imports no module of the operator: the only contract between probe and
operator is the versioned report schema, ``report.schema.json``.
"""

__version__ = "0.3.0"
