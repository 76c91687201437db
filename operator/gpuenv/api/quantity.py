"""Kubernetes quantities, such as ``500m``, ``8Gi`` and ``1e9``, as numbers that can be compared.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(
    r"(?P<number>[0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})"
    r"((?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_BYTES: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
_MOST_BYTES: Final = 2**63
_FACTORS: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def amount(text: str) -> Decimal:
    """Return the number that a quantity stands for, such as 0.5 for ``500m``.

    Raises ValueError if ``text`` is no quantity. Negative quantities are none: no resource has them.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(text)
    factor = _FACTORS.get(found["suffix"] or "", Decimal(1))
    return Decimal(found["number"]) * factor * Decimal(10) ** int(found["exponent"] or 0)


def whole_bytes(text: str) -> int:
    """Return the number of bytes in a positive quantity such as ``40Gi``, ``40G`` or ``1073741824``.

    Exponents such as ``1e9`` are not supported. Raises ValueError if ``text`` is no such quantity, or 2**63 or more.
    """
    found = _BYTES.fullmatch(text.strip())
    number = Decimal(found[1]) * _FACTORS.get(found[2] or "", Decimal(1)) if found else Decimal(0)
    if not 1 <= number < _MOST_BYTES:
        raise ValueError(text)
    return int(number)
