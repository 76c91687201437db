"""Record probe reports on a machine with a GPU as fixtures, and measure how reproducible the probe's figures are.

Usage: ``python tests/bench/gpu_session.py [--parts profiles,spread,compare] [--runs 10] [--probe FILE] [--out FILE]``

It needs only this checkout and a Python that has torch. The script packs the probe, starts it as a pod would, and reads
its reports. NVIDIA's NVML bindings are packed in if they are installed; ``--probe`` takes a complete zip application
instead. The exit code is 2 if the machine has no GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("None", "Quick", "Standard")
PARTS = ("profiles", "spread", "compare")
STAGE_SECONDS = 3600
"""The deadline of a stage, long enough for every session."""
ROUNDS = 3
"""How often the probe and torch.utils.benchmark take turns, so that the GPU's temperature affects both alike."""
_UUID = re.compile(r"(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KERNEL_MODULE = re.compile(r"Kernel Module.*?\s(\d{3}\.\d+(?:\.\d+)?)\s")
"""The driver's version in /proc/driver/nvidia/version.

https://download.nvidia.com/XFree86/Linux-x86_64/570.172.08/README/procinterface.html
"""

Row = dict[str, Any]


class SessionError(Exception):
    """The session cannot go on. The message is one line that says why, and ``code`` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Run:
    """One run of the probe: its reports by stage, and the seconds from its start to its end."""

    reports: dict[str, Any]
    seconds: float

    def benchmarks(self) -> list[Row]:
        """Return the rows of the benchmark figures, including those that were not measured."""
        return list(self.reports.get("kernels", {}).get("benchmarks", []))


class Probe:
    """Runs the probe's zip application. ``directory`` is for its output file."""

    def __init__(self, archive: Path, directory: Path) -> None:
        self.archive = archive
        self.directory = directory

    def run(self, stage: str, profile: str = "None") -> Run:
        """Run ``stage`` (facts, kernels or all) and return its reports. Raises SessionError if it writes none."""
        out = self.directory / "reports.json"
        out.unlink(missing_ok=True)
        env = {name: value for name, value in os.environ.items() if not name.startswith("GPUENV_")}
        env |= {"GPUENV_RUN": "gpu-session", "GPUENV_DEADLINE_SECONDS": str(STAGE_SECONDS)}
        command = [sys.executable, str(self.archive), stage, "--profile", profile, "--out", str(out)]
        begun = time.monotonic()
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        seconds = time.monotonic() - begun
        if done.returncode != 0 or not out.exists():
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise SessionError(f"the probe ended with {done.returncode}: {last}")
        return Run(json.loads(out.read_text(encoding="utf-8")), seconds)


def pack(path: Path) -> bool:
    """Pack the probe of this checkout into ``path``. Return False if no NVML bindings were found to pack in."""
    sources = ROOT / "probe_image" / "gpuenv_probe"
    spec = importlib.util.find_spec("pynvml")
    origins = [Path(spec.origin)] if spec is not None and spec.origin is not None else []
    origins += ROOT.glob(".venv/lib/*/site-packages/pynvml.py")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(sources.rglob("*.py")):
            archive.write(file, file.relative_to(sources.parent))
        archive.write(sources / "__main__.py", "__main__.py")
        if origins:
            archive.write(origins[0], "vendor/pynvml.py")
    return bool(origins)


def machine(facts: Row) -> Row:
    """Return date (UTC), GPU, driver and torch from a facts report. Raises SessionError without GPU or torch."""
    driver, gpus = facts.get("driver", {}), facts.get("gpus", [])
    if not driver.get("deviceCount") or not gpus:
        why = driver.get("libcuda", {}).get("error") or f"cuInit: {driver.get('cuInit', 'not called')}"
        raise SessionError(f"no GPU here, so there is nothing to measure ({why})", 2)
    torch = facts.get("torch", {})
    if not torch.get("version"):
        raise SessionError(f"{sys.executable} has no torch; run this with the Python that has it", 2)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "gpu": gpus[0].get("product", "unknown GPU"),
        "gpuCount": driver["deviceCount"],
        "driver": driver.get("version") or kernel_module() or "unknown",
        "torch": torch["version"],
        "cuda": torch.get("cuda"),
    }


def kernel_module(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Return the driver's version from its kernel module, for a probe without NVML bindings."""
    try:
        found = _KERNEL_MODULE.search(path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def write_fixture(directory: Path, about: Row, runs: dict[str, Run]) -> Path:
    """Write the reports of each profile to a fixture file and return its path.

    The UUIDs of the GPUs are replaced by numbers, because they identify a device.
    """
    profiles = {
        name: {"seconds": round(run.seconds, 1), "reports": run.reports} for name, run in runs.items()
    }
    text = json.dumps({**about, "profiles": profiles}, indent=1) + "\n"
    for number, uuid in enumerate(dict.fromkeys(_UUID.findall(text))):
        text = text.replace(uuid, f"{uuid[:3]}-00000000-0000-0000-0000-{number:012d}")
    words = [re.sub(r"[^a-z0-9.]+", "-", str(about[key]).lower()) for key in ("gpu", "driver", "date")]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ("-".join(words) + ".json")
    path.write_text(text, encoding="utf-8")
    return path


def spread(runs: list[list[Row]]) -> list[Row]:
    """Return for each figure how far its median varies between runs, in percent, or why it was not measured."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for rows in runs:
        for row in rows:
            found.setdefault((row["benchmark"], row.get("dtype", ""), row.get("gpu", 0)), []).append(row)
    return [_spread_of(key, rows) for key, rows in found.items()]


def _spread_of(key: tuple[Any, ...], rows: list[Row]) -> Row:
    benchmark, dtype, gpu = key
    values = [row["median"] for row in rows if row.get("median") is not None]
    about = {
        "benchmark": benchmark,
        "dtype": dtype,
        "gpu": gpu,
        "unit": rows[0].get("unit", ""),
        "runs": len(values),
    }
    if not values:
        return {**about, "detail": rows[0].get("detail", "the probe does not say why")}
    middle = statistics.median(values)
    deviation = statistics.stdev(values) / statistics.mean(values) if len(values) > 1 else 0.0
    return {
        **about,
        "medians": values,
        "median": middle,
        "min": min(values),
        "max": max(values),
        "rangePercent": round(100 * (max(values) - min(values)) / middle, 2),
        "deviationPercent": round(100 * deviation, 2),
    }


def compare(probe: Probe) -> list[Row]:
    """Measure GPU 0 with the probe and torch.utils.benchmark in turn, and return the medians of both."""
    by_probe: dict[str, list[float]] = {}
    by_torch: dict[str, list[Row]] = {}
    for _ in range(ROUNDS):
        rows = [row for row in probe.run("kernels", "Quick").benchmarks() if row.get("gpu", 0) == 0]
        measured = {name_of(row): row["median"] for row in rows if row.get("median") is not None}
        names = [name for name in measured if name.split()[0] in ("MatMul", "DeviceMemory")]
        for name in names:
            by_probe.setdefault(name, []).append(measured[name])
        for row in measured_by_torch(names):
            by_torch.setdefault(row["name"], []).append(row)
    return [comparison_row(by_probe[name], rows) for name, rows in by_torch.items()]


def comparison_row(by_probe: list[float], by_torch: list[Row]) -> Row:
    """Return one figure by both, or a ``detail`` if torch.utils.benchmark could not measure it."""
    about = {
        "figure": by_torch[0]["name"],
        "shape": by_torch[0]["shape"],
        "probe": statistics.median(by_probe),
    }
    values = [row["value"] for row in by_torch if "value" in row]
    if not values:
        return {**about, "detail": by_torch[0].get("detail", "not measured")}
    torch = float(f"{statistics.median(values):.4g}")
    return {**about, "torchUtilsBenchmark": torch, "ratio": round(about["probe"] / torch, 4)}


def name_of(row: Row) -> str:
    """Return the name of a figure: benchmark and data type."""
    return f"{row['benchmark']} {row.get('dtype') or ''}".strip()


def measured_by_torch(names: list[str]) -> list[Row]:
    """Measure the figures with torch.utils.benchmark in a separate process. Raises SessionError if it fails."""
    if not names:
        return []
    script = Path(__file__).with_name("torch_figures.py")
    done = subprocess.run(
        [sys.executable, str(script), *names],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise SessionError(f"torch.utils.benchmark ended with {done.returncode}: {last}")
    return list(json.loads(done.stdout.splitlines()[-1]))


def table(result: Row) -> str:
    """Return the results of the session as a table of text."""
    about = result["machine"]
    words = f"driver {about['driver']}, PyTorch {about['torch']}, {about['date']}"
    lines = [f"{about['gpu']} x {about['gpuCount']}, {words}"]
    lines += [f"profile {name:<9} {seconds:8.1f} s in all" for name, seconds in result["seconds"].items()]
    lines += [f"GPU {row['gpu']} {name_of(row):<12} {_spread_words(row)}" for row in result["spread"]]
    lines += [f"{row['figure']:<12} {row['shape']}: {_ratio_words(row)}" for row in result["comparison"]]
    return "\n".join(lines) + "\n"


def _spread_words(row: Row) -> str:
    if not row["runs"]:
        return f"not measured: {row['detail']}"
    percents = f"range {row['rangePercent']:5.2f} %, deviation {row['deviationPercent']:5.2f} %"
    return f"{row['median']:>9.4g} {row['unit']:<6} {percents} over {row['runs']} runs"


def _ratio_words(row: Row) -> str:
    if "ratio" not in row:
        return f"probe {row['probe']:.4g}; torch.utils.benchmark: {row['detail']}"
    theirs = f"torch.utils.benchmark {row['torchUtilsBenchmark']:.4g}"
    return f"probe {row['probe']:.4g}, {theirs}, ratio {row['ratio']:.3f}"


def session(probe: Probe, given: argparse.Namespace) -> Row:
    """Run the requested parts and return the results.

    The output file is written again after each part, so that a session that is killed keeps the parts before.
    """
    about = machine(probe.run("facts").reports["facts"])
    result: Row = {"machine": about, "seconds": {}, "spread": [], "comparison": []}
    save(given.out, result)  # fails now, not after an hour, if the file cannot be written
    if "profiles" in given.parts:
        runs = {}
        for profile in PROFILES:
            runs[profile] = probe.run("all", profile)
            result["seconds"][profile] = round(runs[profile].seconds, 1)
            result["fixture"] = write_fixture(given.fixtures, about, runs).name
            save(given.out, result)
    if "spread" in given.parts:
        rows = []
        for _ in range(given.runs):
            rows.append(probe.run("kernels", "Quick").benchmarks())
            result["spread"] = spread(rows)
            save(given.out, result)
    if "compare" in given.parts:
        result["comparison"] = compare(probe)
        save(given.out, result)
    return result


def save(path: Path, result: Row) -> None:
    """Write the results so far as JSON."""
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class _Parser(argparse.ArgumentParser):
    """A parser that raises SessionError, where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise SessionError(f"{message} (see --help)", 2)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options on the command line. Raises SessionError for wrong usage."""
    parser = _Parser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="which of profiles, spread, compare")
    parser.add_argument("--runs", type=int, default=10, help="runs that the spread is taken over")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--probe", type=Path, help="the probe's zip application; packed from here otherwise")
    parser.add_argument("--out", type=Path, default=Path("gpu-session.json"))
    parser.add_argument("--fixtures", type=Path, default=ROOT / "tests" / "fixtures" / "gpu")
    given = parser.parse_args(arguments)
    given.parts = given.parts.split(",")
    if not set(given.parts) <= set(PARTS):
        parser.error(f"--parts are some of {', '.join(PARTS)}")
    if given.runs < 1:
        parser.error("--runs is 1 or more")
    return given


def main(arguments: list[str]) -> int:
    """Run the session, print its table, and return the exit code, which is 2 without a GPU."""
    try:
        result = measure(parse(arguments))
    except (SessionError, OSError) as error:
        print(f"gpu_session: {error}", file=sys.stderr)
        return error.code if isinstance(error, SessionError) else 1
    except KeyboardInterrupt:
        return 130
    print(table(result), end="")
    return 0


def measure(given: argparse.Namespace) -> Row:
    """Pack the probe unless one was given, run the session with it, and return the results."""
    if given.device == "cpu":
        raise SessionError("a CPU is no GPU, so there is nothing to measure", 2)
    with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
        archive = given.probe or Path(name) / "gpuenv-probe.pyz"
        if given.probe is None and not pack(archive):
            print("gpu_session: no NVML bindings here: reports will lack what NVML says", file=sys.stderr)
        return session(Probe(archive, Path(name)), given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
