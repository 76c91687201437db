"""The settings of the stand-in, and the faults that they ask for."""

import ctypes
import json
import os
import signal
import sys
import time

_HERE = os.path.dirname(os.path.abspath(__file__))

DEFAULTS = {
    "version": "2.9.1+cu128",
    "cuda": "12.8",
    "git_version": "5811a8d7da873dd699ff6687092c225caffcf1bb",
    "cudnn": 91002,
    "nccl": [2, 27, 5],
    "arch_flags": "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
    "gpus": [{"name": "NVIDIA A100-SXM4-80GB", "capability": [8, 0], "memory_mib": 81920, "free_mib": 2048}],
    # The message with which torch.cuda.init() fails, or None.
    "init_error": None,
    # Warnings that torch.cuda.is_available() gives.
    "warnings": [],
    # The time between two CUDA events, in milliseconds.
    "elapsed_ms": 0.125,
    # A mapping from a place to the fault that happens when the emulated GPU reaches this place.
    # Places: import, init, alloc, matmul, conv2d, attention, backward, script, bessel_j0, compile,
    # fp8 (conversion to fp8).
    # Faults: exit:N (SystemExit), quit:N (os._exit), segv, abort, kill (signals to itself), null (reads address 0),
    # hang, fork, print, raise:TEXT, sticky:TEXT (this and every later CUDA call fails with TEXT), wrong (a wrong
    # result), wrong-once:FILE (wrong unless FILE exists, which it then creates),
    # segv-after:N:FILE, raise-after:N:FILE (from the N+1st time on; FILE counts the times across processes).
    "faults": {},
}


def _load():
    path = os.environ.get("STUB_TORCH", os.path.join(os.path.dirname(_HERE), "emulated.json"))
    try:
        with open(path, encoding="utf-8") as file:
            return {**DEFAULTS, **json.load(file)}
    except FileNotFoundError:
        return dict(DEFAULTS)


SETTINGS = _load()
_broken = []


def check_alive():
    """Raise if a sticky fault has happened, as every CUDA call does after one."""
    if _broken:
        raise RuntimeError(_broken[0])


def _is_later(argument):
    """Return whether this is more than the Nth call for ``N:FILE``, in this process and earlier ones."""
    often, _, path = argument.partition(":")
    with open(path, "a+", encoding="utf-8") as file:
        file.write(".")
        return file.tell() > int(often)


def enter(place):
    """Let the fault of ``place`` happen, if it has one. Return True if its results should be wrong."""
    check_alive()
    action = SETTINGS["faults"].get(place, "")
    kind, _, argument = action.partition(":")
    if kind.endswith("-after"):
        kind, argument = (kind[: -len("-after")] if _is_later(argument) else ""), "no more"
    if kind == "exit":
        sys.exit(int(argument or 1))
    if kind == "quit":
        os._exit(int(argument or 0))
    if kind in ("segv", "abort", "kill"):
        os.kill(os.getpid(), {"segv": signal.SIGSEGV, "abort": signal.SIGABRT, "kill": signal.SIGKILL}[kind])
    if kind == "null":
        ctypes.string_at(0)
    if kind == "hang":
        while True:
            time.sleep(3600)
    if kind == "fork":
        os.fork()
    if kind == "print":
        print('{"done": "rubbish"}\n' * 50, "rubbish", flush=True)
        print("rubbish", file=sys.stderr, flush=True)
    if kind == "raise":
        raise RuntimeError(argument)
    if kind == "sticky":
        _broken.append(argument)
        raise RuntimeError(argument)
    if kind == "wrong-once":
        try:
            os.close(os.open(argument, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True
    return kind == "wrong"
