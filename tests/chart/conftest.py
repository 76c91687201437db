"""The Helm chart: rendered, and installed into a real control plane."""

from tests.support.helm import helm

__all__ = ["helm"]
