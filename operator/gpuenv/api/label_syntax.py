"""The syntax of label keys, label values and DNS names in Kubernetes.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
"""

import re
from typing import Final

_NAME: Final = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_DNS}")
"""A DNS subdomain, the form of the names of most objects."""
LABEL_KEY: Final = re.compile(rf"((?=.{{1,253}}/){_DNS}/)?{_NAME}")
LABEL_VALUE: Final = re.compile(rf"({_NAME})?")
