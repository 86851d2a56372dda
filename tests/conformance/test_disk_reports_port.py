"""What DiskReports promise, asked of the real and the simulated ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from cell.smart import parse_smart
from common import limits
from common.disk_facts import DiskFacts
from common.ports import DiskReports
from common.system.smart import SmartctlReports
from sim.world import SimWorld

REPORT = '{"smart_status": {"passed": true}, "temperature": {"current": 31}}'


def reports_of(kind: str, tmp_path: Path, written: str) -> DiskReports:
    """Reports of a disk that says so."""
    if kind == "simulated":
        node = SimWorld(seed=1).node("node")
        node.disk_report = written.encode()
        return node.world.disk_reports
    told = tmp_path / "told"
    told.write_text(written)
    program = f"import sys; sys.stdout.write(open({str(told)!r}).read()); sys.exit(4)"
    return SmartctlReports(tmp_path, [sys.executable, "-c", program])


both = pytest.mark.parametrize("kind", ["real", "simulated"])


@both
async def test_a_report_is_what_the_disk_says(kind: str, tmp_path: Path) -> None:
    found = parse_smart(await reports_of(kind, tmp_path, REPORT).read())
    assert found == DiskFacts(passed=1, temperature=31)


@both
async def test_a_report_that_is_too_long_is_cut(kind: str, tmp_path: Path) -> None:
    found = await reports_of(kind, tmp_path, " " * (limits.MAX_SMART_BYTES + 70_000)).read()
    assert len(found) == limits.MAX_SMART_BYTES


@both
async def test_a_disk_that_says_nothing_gives_nothing(kind: str, tmp_path: Path) -> None:
    assert await reports_of(kind, tmp_path, "").read() == b""


async def test_this_machine_s_disk_may_be_asked_whatever_it_is(tmp_path: Path) -> None:
    assert len(await SmartctlReports(tmp_path).read()) <= limits.MAX_SMART_BYTES


async def test_a_program_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert await SmartctlReports(tmp_path, [str(tmp_path / "nothing")]).read() == b""


async def test_a_program_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMART_TIMEOUT_S", 0.05)
    program = "import time\nprint('{', flush=True)\ntime.sleep(3600)"
    reports = SmartctlReports(tmp_path, [sys.executable, "-c", program])
    with trio.fail_after(30):
        assert await reports.read() == b""


async def test_a_program_that_cannot_be_ended_is_left_and_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits in the kernel for a broken disk."""
    monkeypatch.setattr(limits, "SMART_TIMEOUT_S", 0.05)
    monkeypatch.setattr(limits, "SMART_END_S", 0.05)
    begun: list[trio.Process] = []

    def outlive(process: trio.Process) -> None:
        begun.append(process)

    monkeypatch.setattr(trio.Process, "kill", outlive)
    program = "import time\nprint('{', flush=True)\ntime.sleep(3600)"
    reports = SmartctlReports(tmp_path, [sys.executable, "-c", program])
    with trio.fail_after(30):
        assert await reports.read() == b""
        assert await reports.read() == b""
        (process,) = begun
        process.terminate()
        await process.wait()
        assert await reports.read() == b""
        process = begun[1]
        process.terminate()
        await process.wait()
