"""What a process costs."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of a process with its threads, and its peak memory in GiB."""

    cpu: float
    wall: float
    peak: float

    def __str__(self) -> str:
        return f"{self.cpu:8.1f} CPU s  {self.wall:8.1f} s wall  {self.peak:6.2f} GiB peak"


def measured(command: Sequence[str]) -> Cost:
    """Runs a command to its end. SystemExit where it fails."""
    return told(command)[0]


def told(command: Sequence[str]) -> tuple[Cost, Any]:
    """The same, with what the command printed, where that is JSON."""
    with tempfile.TemporaryFile("w+") as printed:
        began = time.monotonic()
        with subprocess.Popen(command, stdout=printed) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:80]}: exit code {process.returncode}")
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 2**20), content
