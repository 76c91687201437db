"""Reads pasted output of ``nvidia-smi``: the table, the list (``-L``), the query (``-q``) and CSV (``--query-gpu``).

``nvidia-bug-report.sh`` contains the query, too, so that fragments of its log are read the same way. The query groups its
lines under headings. Pasted text may have lost its indentation, so a line belongs to the last heading before it.
https://docs.nvidia.com/deploy/nvidia-smi/
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from gpuenv.assess.facts import Gpu
from gpuenv.assess.gpu_health import NO_HEALTH, Health
from gpuenv.assess.vgpu import VIRTUAL
from gpuenv.knowledge.versions import parse_version

MAX_GPUS: Final = 64
MAX_LINES: Final = 20_000
"""Number of lines of a query that are read. It has about 250 for each GPU."""
_GPU = r"GPU (\d{1,3}) ?[:：] {0,3}([^\n]{2,300})"
_NEXT_GPU = r"\s*(?:\(UUID|\bGPU \d{1,3} ?[:：]|\bMIG |\s{3,}|\|)"
_HEAD = r"(?:Driver|KMD) Version: {0,4}(\d{3}[\d.]{0,12})(?:[^\n]{0,80}?CUDA (?:UMD )?Version: {0,4}(\d{1,2}\.\d{1,2}))?"
_ROW = (
    r"(?m)"
    r"^[|│] {1,6}(\d{1,3}) {1,4}([^|│\n]{3,48}?) {1,40}(?:On|Off|N/A|WDDM|TCC|MCDM) {1,8}[|│]"
    r"(?:[^|│\n]{1,60}[|│] {1,30}(\d{1,9})? {0,30}[^|│\n]{0,20}[|│]\n"
    r"[|│][^|│\n]{1,80}[|│] {1,30}\d{1,8}MiB ?/ {1,8}(\d{1,8})MiB)?"
)
"""Matches the first row of a GPU in the table, and its memory errors and its memory if the second row follows it."""
_QUERY_SIGNS: Final = (
    "Product Name",
    "Licensed Product",
    "Remapped Rows",
    "NVSMI LOG",
    "Driver Version ",
    "KMD Version ",
    "CUDA Version ",
)
_QUERY_LINE = r"([A-Za-z][\w ()/.-]{1,60}?)(?: {1,60}: {0,4}([^\n]{0,120}))?"
_QUERY_GPU = r"GPU ([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d)"
_CSV_SIGNS: Final = ("driver_version", "name, ", ", name")
_CSV_HEAD = (
    r"(?m)"
    r"^[a-z_]{2,20}(?:[a-z_.]{0,60}(?: \[\w{1,5}\])?, ){1,30}[a-z_.]{2,60}(?: \[\w{1,5}\])?$"
)
_NUMBER = r"\d{1,9}"
_PRODUCT: Final = "Product Name"
_LICENCES: Final = ("vGPU Software Licensed Product", "GRID Licensed Product")
_MODES: Final = {"none": 0, "pass-through": 1, "vgpu": VIRTUAL, "host vgpu": 3, "host vsga": 4}
_FABRIC: Final = {"not started": 1, "in progress": 2, "completed": 3}
_RECOVERY: Final = {
    "none": 0, "reset": 1, "gpu reset": 1, "reboot": 2, "node reboot": 2, "drain p2p": 3, "drain and reset": 4,
}  # fmt: skip
"""Words of nvidia-smi for NVML's numbers of the virtualisation mode, the state of the fabric and the recovery action."""

Query = Mapping[tuple[str, str], str]
"""The lines of a query about one GPU: the value of each pair of a heading and a label, the first one of each."""


class SmiOutput(NamedTuple):
    """What a text with output of ``nvidia-smi`` says: driver and CUDA versions, and the GPUs.

    ``fragment`` is the health in a part of a query that names no GPU, or an empty one.
    """

    driver: str | None = None
    cuda: str | None = None
    gpus: tuple[Gpu, ...] = ()
    fragment: Health = NO_HEALTH


def read_nvidia_smi(text: str) -> SmiOutput:
    """Return the facts in output of ``nvidia-smi`` inside ``text``. All are empty if there is none."""
    head = re.search(_HEAD, text) if "Version:" in text else None
    queries = _queries(text) if any(sign in text for sign in _QUERY_SIGNS) else []
    heading = queries[0] if queries else {}
    queried = tuple(_queried(queries))
    listed = _table(text) or tuple(
        Gpu(index=index, product=name) for index, name in sorted(numbered(text).items())
    )
    csv = _csv(text)
    told = heading.get(("", "KMD Version")) or heading.get(("", "Driver Version")) or csv.driver
    gpus = (listed or queried or csv.gpus)[:MAX_GPUS]
    if listed and len(listed) == len(queried):
        gpus = tuple(replace(gpu, health=more.health) for gpu, more in zip(listed, queried, strict=True))
    return SmiOutput(
        driver=_version(told) or (head[1] if head else None),
        cuda=(head[2] if head else None)
        or _version(heading.get(("", "CUDA UMD Version")) or heading.get(("", "CUDA Version"))),
        gpus=gpus,
        fragment=_health(queries[0]) if len(queries) == 1 and not queried else NO_HEALTH,
    )


def numbered(text: str) -> dict[int, str]:
    """Return the GPUs that the text lists in the form ``GPU 0: NVIDIA A100-SXM4-40GB (UUID: …)``.

    Each key is the number of a GPU, and its value is the product name. Each GPU may be on a line of its own, or all on
    one line.
    """
    found: dict[int, str] = {}
    position = text.find("GPU ")
    if position < 0:
        return found
    while len(found) < MAX_GPUS and (match := re.compile(_GPU).search(text, position)):
        rest = re.split(_NEXT_GPU, match[2], maxsplit=1)[0].strip()
        position = match.start(2) + max(1, len(rest))
        if len(rest) > 2 and rest[0].isalpha():
            found.setdefault(int(match[1]), rest[:100])
    return found


def _version(words: str | None) -> str | None:
    first = words.split()[0] if words and words.split() else None
    return first if parse_version(first) else None


def _table(text: str) -> tuple[Gpu, ...]:
    found: dict[int, Gpu] = {}
    if "|" not in text and "│" not in text:
        return ()
    for match in islice(re.finditer(_ROW, text), MAX_GPUS):
        errors, memory = match[3], match[4]
        gpu = Gpu(
            index=int(match[1]),
            product=match[2].strip(" ."),
            memory_mib=int(memory) if memory else None,
            health=Health(ecc_uncorrected=int(errors)) if errors and memory else NO_HEALTH,
        )
        found[gpu.index] = gpu
    return tuple(gpu for _, gpu in sorted(found.items()))


def _queries(text: str) -> Sequence[Query]:
    """Return the lines before the first GPU of a query, and then those of each GPU."""
    found: list[dict[tuple[str, str], str]] = [{}]
    heading, labelled = "", re.compile(_QUERY_LINE)
    for line in islice(text.splitlines(), MAX_LINES):
        stripped = line.strip(" |>")
        gpu = re.match(_QUERY_GPU, stripped)
        if gpu:
            found.append({("", "GPU"): gpu[1]})
            heading = ""
            continue
        match = labelled.fullmatch(stripped[:200])
        if match and match[2] is None:
            heading = match[1]
        elif match:
            value = match[2].strip()
            if match[1] == _PRODUCT and heading not in _LICENCES and ("", _PRODUCT) in found[-1]:
                found.append({})  # another GPU, in lines that somebody picked from the query
            found[-1].setdefault((heading, match[1]), value)
            if heading not in _LICENCES or match[1] != _PRODUCT:
                found[-1].setdefault(("", match[1]), value)
    return found


def _queried(queries: Sequence[Query]) -> Iterator[Gpu]:
    named = [query for query in queries if len(query.get(("", _PRODUCT), "")) > 2]
    for index, query in enumerate(named[:MAX_GPUS]):
        total = re.match(_NUMBER, query.get(("FB Memory Usage", "Total"), ""))
        enabled = query.get(("MIG Mode", "Current")) == "Enabled"
        yield Gpu(
            index=index,
            product=query["", _PRODUCT][:100],
            memory_mib=int(total[0]) if total else None,
            mig="enabled" if enabled else None,
            health=_health(query),
        )


def _health(query: Query) -> Health:
    """Return the readings of one GPU in a query, as far as they tell of a problem or of a virtual GPU."""
    licence = next(
        (query[name, "License Status"] for name in _LICENCES if (name, "License Status") in query), ""
    )
    mode = _MODES.get(query.get(("", "Virtualization Mode"), "").lower())
    if licence and mode is None:
        mode = VIRTUAL  # only a fragment: drivers of physical GPUs do not speak of a licence of their own
    errors = [
        int(number[0])
        for (heading, label), value in query.items()
        if heading == "Volatile" and "Uncorrect" in label and (number := re.match(_NUMBER, value))
    ]
    return Health(
        pci_id=query.get(("", "GPU")),
        recovery_action=_RECOVERY.get(query.get(("", "GPU Recovery Action"), "").lower()),
        ecc_uncorrected=sum(errors) if errors else None,
        remap_pending=_truth(query.get(("Remapped Rows", "Pending"))),
        remap_failed=_truth(query.get(("Remapped Rows", "Remapping Failure Occurred"))),
        retired_pages_pending=_truth(query.get(("Retired Pages", "Pending Page Blacklist"))),
        fabric_state=_FABRIC.get(query.get(("Fabric", "State"), "").lower()),
        virtualization_mode=mode,
        vgpu_licensed=not licence.lower().startswith("un") if "icensed" in licence else None,
    )


def _truth(word: str | None) -> bool | None:
    return {"yes": True, "no": False}.get((word or "").lower())


def _csv(text: str) -> SmiOutput:
    """Return what the output of ``nvidia-smi --query-gpu=… --format=csv`` says. Its first line names the columns."""
    head = re.search(_CSV_HEAD, text) if any(sign in text for sign in _CSV_SIGNS) else None
    if head is None or not {"name", "gpu_name", "driver_version"} & set(head[0].split(", ")):
        return SmiOutput()
    names = [name.split(" [")[0] for name in head[0].split(", ")]
    gpus: list[Gpu] = []
    driver: str | None = None
    for line in islice(text[head.end() + 1 :].splitlines(), MAX_GPUS):
        values = [value.strip() for value in line.split(", ")]
        if len(values) != len(names):
            break
        row = dict(zip(names, values, strict=True))
        driver = driver or _version(row.get("driver_version"))
        capability = parse_version(row.get("compute_cap"))
        memory = re.match(_NUMBER, row.get("memory.total", ""))
        gpus.append(
            Gpu(
                index=len(gpus),
                product=(row.get("name") or row.get("gpu_name") or "")[:100] or None,
                compute_capability=(capability[0], capability[1])
                if capability and len(capability) > 1
                else None,
                memory_mib=int(memory[0]) if memory else None,
            )
        )
    named = tuple(gpu for gpu in gpus if gpu.product)
    return SmiOutput(driver=driver, gpus=named)
