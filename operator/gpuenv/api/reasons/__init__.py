"""All reasons, one row for each. They are documented API: ``docs/reasons.md`` is generated from the rows.

A reason names a cause and not its severity; the severity is the status of the check.

To add a reason, add a row to the module of its subject; no other list of reasons exists. Each reason is a constant of
this package (``reasons.GpuLost``). :func:`behaviour` returns what gpuenv does because of a reason, and accepts any
string.
"""

# Star imports, because a list of names here would be a second place to edit for each reason.
from gpuenv.api.reasons.build import *
from gpuenv.api.reasons.driver import *
from gpuenv.api.reasons.environment import *
from gpuenv.api.reasons.gpu import *
from gpuenv.api.reasons.image import *
from gpuenv.api.reasons.node import *
from gpuenv.api.reasons.row import *
