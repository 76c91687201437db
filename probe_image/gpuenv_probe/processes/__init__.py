"""The probe's processes: a parent that loads neither torch nor a driver library, and workers, which may crash."""
