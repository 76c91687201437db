"""Fixtures of the tests of the Helm chart."""

from tests.support.helm import helm

__all__ = ["helm"]
