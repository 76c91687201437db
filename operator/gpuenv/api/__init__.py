"""Names, reasons and the typed forms of the two custom resources: what the outside world sees of gpuenv."""
