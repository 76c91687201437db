"""Workers that hang, crash and babble, as the parent sees them. They are real processes of this Python."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.wait import PATIENCE

from gpuenv_probe.processes import supervisor
from gpuenv_probe.processes.supervisor import Clock, Ended, Supervisor
from gpuenv_probe.step import Step

PROBE = Path(supervisor.__file__).parents[2]
BODIES = {
    "good": "return {'good': True}",
    "last": "return {'last': True}",
    "segv": "os.kill(os.getpid(), signal.SIGSEGV)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "quit": "os._exit(0)",
    "raise": "raise RuntimeError('CUDA error: Error 802: system not yet initialized')",
    "exit": "sys.exit('no torch today')",
    "hang": "signal.pause()",
    "stubborn": "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()",
    "babble": r"print('x' * 300000); os.write(int(sys.argv[-1]), b'{\n[1]\n'); return {'babble': 1}",
    "fork": "os.fork(); return {'fork': True}",
    "restart": "context.restart = True; return {'restart': True}",
    "words": "print('last words', file=sys.stderr, flush=True); os.abort()",
}


def write_worker(directory: Path, names: list[str], prelude: str = "") -> Path:
    """A worker program whose steps do what ``BODIES`` says; its Steps are made like the probe's own."""
    functions = "\n".join(f"def do_{name}(context):\n    {BODIES[name]}" for name in names)
    steps = ", ".join(f"Step({name!r}, {limit(name)}, do_{name}, blame)" for name in names)
    program = f"""\
import json, os, signal, sys
{prelude}
sys.path.insert(0, {str(PROBE)!r})
from gpuenv_probe.processes import worker
from gpuenv_probe.step import Step

def blame(failure, outcome):
    return {{"failed": [outcome, failure]}}

{functions}

worker.main([{steps}], json.loads(sys.argv[1]), int(sys.argv[2]))
"""
    path = directory / "worker.py"
    path.write_text(textwrap.dedent(program), encoding="utf-8")
    return path


def limit(name: str) -> float:
    return 1.0 if name in ("hang", "stubborn") else PATIENCE


class Parent:
    """Runs workers and keeps what arrives."""

    def __init__(
        self,
        directory: Path,
        *names: str,
        seconds: float = PATIENCE,
        prelude: str = "",
        reading_takes: float = 0.0,
    ) -> None:
        self.program = write_worker(directory, list(names), prelude)
        self.names = names
        self.starts: list[str] = []
        self.partials: list[dict[str, Any]] = []
        self.commands = 0
        self.clock = Clock(seconds)
        self.reading_takes = reading_takes
        self.deadline_in = ""
        """The step shortly after whose start the stage's deadline comes."""

    def run(self) -> Parent:
        def command(kind: str, job: dict[str, Any]) -> list[str]:
            self.commands += 1
            return [sys.executable, str(self.program), json.dumps(job)]

        def blame(name: str) -> Any:
            return lambda failure, outcome: {name: [outcome, failure]}

        def unused(context: object) -> dict[str, Any]:
            raise AssertionError("steps run in the worker only")

        steps = [Step(name, limit(name), unused, blame(name)) for name in self.names]
        Supervisor(self.clock, command, self._started, self._keep).run("any", steps, {})
        return self

    def _started(self, name: str) -> None:
        self.starts.append(name)
        if name == self.deadline_in:
            self.clock.deadline = time.monotonic() + 0.5

    def _keep(self, partial: dict[str, Any]) -> None:
        self.partials.append(partial)
        threading.Event().wait(self.reading_takes)

    def outcome(self, name: str) -> Any:
        """What is known of the step: its result, or how its worker ended."""
        return next(partial[name] for partial in self.partials if name in partial)


@pytest.mark.parametrize(("name", "number"), [("segv", signal.SIGSEGV), ("kill", signal.SIGKILL)])
def test_a_crash_costs_its_step_and_no_other(tmp_path: Path, name: str, number: int) -> None:
    parent = Parent(tmp_path, "good", name, "last").run()
    status, failure = parent.outcome(name)
    assert (status, failure["layer"], failure["code"]) == ("Crashed", "signal", number)
    assert parent.outcome("good") is True
    assert parent.outcome("last") is True
    assert parent.commands == 2
    assert [len(partial) for partial in parent.partials] == [1, 1, 1], "each step is reported once"


def test_what_a_step_handed_on_outlives_its_worker(tmp_path: Path) -> None:
    BODIES["tell"] = "return {'control': {'spent': 4.5}}"
    BODIES["recall"] = "return {'recall': context.known}"
    known = Parent(tmp_path, "tell", "segv", "recall").run().outcome("recall")
    assert known["spent"] == 4.5
    assert 0.0 < known["lostSeconds"] < 10.0


def test_last_words_are_kept(tmp_path: Path) -> None:
    status, failure = Parent(tmp_path, "words").run().outcome("words")
    assert (status, failure["name"]) == ("Crashed", "SIGABRT")
    assert "last words" in failure["message"]


def test_leaving_early_without_a_word_is_a_crash(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "quit", "last").run()
    assert parent.outcome("quit")[0] == "Crashed"
    assert parent.outcome("quit")[1]["code"] == 0
    assert parent.outcome("last") is True


@pytest.mark.parametrize(("name", "layer", "code"), [("raise", "cudart", 802), ("exit", "python", None)])
def test_exceptions_are_findings(tmp_path: Path, name: str, layer: str, code: int | None) -> None:
    parent = Parent(tmp_path, name, "last").run()
    (status, failure) = parent.outcome("failed")
    assert (status, failure["layer"], failure.get("code")) == ("Fail", layer, code)
    assert parent.commands == 1


@pytest.mark.parametrize("name", ["hang", "stubborn"])
def test_a_hang_is_ended_and_says_where(tmp_path: Path, name: str) -> None:
    parent = Parent(tmp_path, name, "last").run()
    status, failure = parent.outcome(name)
    assert (status, failure["name"]) == ("TimedOut", "TimedOut")
    assert f"do_{name}" in failure["message"], "the Python stack is part of the last words"
    assert parent.outcome("last") is True


def test_rubbish_on_every_channel_is_ignored(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "babble", "last", prelude="print('sitecustomize says hello')").run()
    assert parent.outcome("babble") == 1
    assert parent.outcome("last") is True
    assert parent.commands == 1


def test_a_fork_does_not_speak_twice(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "fork", "last").run()
    assert [*map(list, parent.partials)] == [["fork"], ["last"]]


def test_a_step_may_ask_for_a_fresh_process(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "restart", "last").run()
    assert parent.outcome("last") is True
    assert parent.commands == 2


def test_a_python_that_does_not_start_is_blamed_on_the_first_step(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "good", "last", prelude="raise SystemExit('broken site')").run()
    status, failure = parent.outcome("good")
    assert status == "Crashed"
    assert "broken site" in failure["message"]


def test_a_worker_that_is_gone_before_it_was_heard_has_still_said_everything(tmp_path: Path) -> None:
    names = [f"quick{number}" for number in range(20)]
    BODIES.update(dict.fromkeys(names, "return {}"))
    for _ in range(5):
        parent = Parent(tmp_path, *names, reading_takes=0.03).run()
        assert parent.partials == [{}] * len(names), "no step is called a crash"
        assert parent.commands == 1


def test_a_child_that_prints_for_ever_keeps_nobody_waiting(tmp_path: Path) -> None:
    BODIES["noisy"] = "os.fork() or [print('x' * 1000, flush=True) for _ in range(10**9)]; os._exit(3)"
    parent = Parent(tmp_path, "noisy", "last").run()
    assert parent.outcome("noisy")[0] == "Crashed"
    assert parent.outcome("last") is True


DIES_BETWEEN_STEPS = """
import json, os
dumps = json.dumps
def spy(value, **options):
    if isinstance(value, dict) and value.get("start") == "last":
        os._exit(9)
    return dumps(value, **options)
json.dumps = spy
"""


def test_a_worker_that_dies_between_steps_is_started_once_more_and_then_given_up(tmp_path: Path) -> None:
    parent = Parent(tmp_path, "good", "last", prelude=DIES_BETWEEN_STEPS)
    with pytest.raises(Ended, match="did not come back"):
        parent.run()
    assert parent.outcome("good") is True
    assert parent.commands == 2


def test_the_deadline_ends_the_stage_and_names_the_step(tmp_path: Path) -> None:
    BODIES["slow"] = "signal.pause()"
    parent = Parent(tmp_path, "good", "slow", "last")
    parent.deadline_in = "slow"
    with pytest.raises(Ended, match="deadline"):
        parent.run()
    assert parent.outcome("good") is True
    assert parent.outcome("slow")[0] == "TimedOut"


def test_sigterm_ends_the_stage(tmp_path: Path) -> None:
    BODIES["slow"] = "signal.pause()"
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    parent = Parent(tmp_path, "slow")
    try:
        parent.clock.listen()
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Ended, match="sigterm"):
            parent.run()
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_worker_that_survives_sigkill_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def survive(worker: supervisor.Worker) -> bool:
        worker.process.kill()
        return False

    monkeypatch.setattr(supervisor.Worker, "kill", survive)
    parent = Parent(tmp_path, "hang", "last")
    with pytest.raises(Ended, match=r"worker \d+ is stuck in the kernel, in hang"):
        parent.run()
    assert parent.outcome("hang")[1]["name"] == "StuckInKernel"
