"""Run the whole probe under many PyTorch releases in turn (``make test-torch-matrix``).

Each release is removed afterwards, unless it was installed before.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.support import probes
from tests.torch_releases import releases

from gpuenv_probe import codec

_NEEDED = {
    ("matmul", "fp32"),
    ("matmul", "bf16"),
    ("conv", "fp32"),
    ("train", "fp32"),
    ("alloc", ""),
    ("jit", "fp32"),
}
"""The steps that must pass on a CPU with every release. The other steps may pass or be skipped."""


def problems(run: probes.Run, entry: releases.Release) -> list[str]:
    """Return the problems of a run on a machine without a GPU, one line each."""
    facts, kernels = run.reports["facts"], run.reports["kernels"]
    found = []
    torch = facts["torch"]
    if not torch["version"].startswith(entry.torch) or torch["cuda"] != entry.cuda:
        found.append(
            f"torch is {torch['version']} with CUDA {torch['cuda']}, not {entry.torch} with {entry.cuda}"
        )
    found += [
        f"the facts lack torch.{name}"
        for name in ("cudnn", "nccl", "archFlags", "gitVersion")
        if not torch.get(name)
    ]
    rows = {(row["name"], row.get("dtype", "")): row for row in kernels["steps"]}
    found += [f"{key} did not run" for key in sorted(_NEEDED - set(rows))]
    for key, row in rows.items():
        allowed = {"Pass"} if key in _NEEDED else {"Pass", "Skipped"}
        if row["status"] not in allowed:
            found.append(f"{key} is {row['status']}: {row.get('error') or row.get('detail')}")
    if codec.decode(run.message)["stage"] != "kernels":
        found.append("the termination message is not of the last stage")
    return found


def check(entry: releases.Release) -> list[str]:
    """Install one release, run the probe with it, and return the problems, one line each.

    The release is removed afterwards, unless it was installed before.
    """
    was_there = releases.home(entry).exists()
    python = releases.ensure(entry)
    try:
        with tempfile.TemporaryDirectory() as name:
            begun = time.monotonic()
            run = probes.run("all", Path(name), "--device", "cpu", python=python, timeout=600)
            print(f"  probed in {time.monotonic() - begun:.1f} s", flush=True)
            if run.code != 0:
                return [f"exit code {run.code}: {run.output[-500:]}"]
            return problems(run, entry) + without_driver(python)
    finally:
        if not was_there:
            releases.remove(entry)


def without_driver(python: Path) -> list[str]:
    """Run the kernels stage for a GPU on this machine without a driver, and return the problems.

    The report has to contain torch's message about the missing driver.
    """
    with tempfile.TemporaryDirectory() as name:
        run = probes.run("kernels", Path(name), python=python, timeout=600)
        error = run.report["torch"].get("initError", {})
        if error.get("code") == 35 and "Found no NVIDIA driver" in error.get("message", ""):
            return []
        return [f"without a driver the report says {error}"]


def main(versions: list[str]) -> int:
    """Check the named releases, or all. Return exit code 1 if one fails or cannot be installed."""
    failed = False
    for entry in [releases.release(version) for version in versions] or releases.RELEASES:
        print(f"torch {entry.torch} on Python {entry.python}", flush=True)
        try:
            found = check(entry)
        except releases.UnavailableError as error:
            found = [str(error)]
        for line in found:
            print(f"  FAILED: {line}", flush=True)
        failed = failed or bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
