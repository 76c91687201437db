"""Reasons: documented API. One row for each reason, in the module of its subject; ``docs/reasons.md`` is made from them.

A reason says what is the case, never how bad it is: the status of the check does that.

To add a reason, add its row; nothing else lists reasons. The rows are the constants of this package (``reasons.GpuLost``),
and :func:`behaviour` answers for any string.
"""

# The stars take over every row: a list of names here would be a second place to edit for each reason.
from gpuenv.api.reasons.build import *  # noqa: F403
from gpuenv.api.reasons.driver import *  # noqa: F403
from gpuenv.api.reasons.environment import *  # noqa: F403
from gpuenv.api.reasons.gpu import *  # noqa: F403
from gpuenv.api.reasons.image import *  # noqa: F403
from gpuenv.api.reasons.node import *  # noqa: F403
from gpuenv.api.reasons.row import *  # noqa: F403
