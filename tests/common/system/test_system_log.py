import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common import limits
from common.limits import LOG_BURST_LINES, LOG_LINES_PER_S
from common.system.log import LineLog, format_line, format_value, open_log
from common.system.log_output import DescriptorOutput, FileOutput


def test_a_line_says_when_where_and_what() -> None:
    line = format_line(1.5, "info", "cell", "joined", {"swarm": "home", "cells": 3})
    assert line == (
        "time=1970-01-01T00:00:01.500Z level=info service=cell event=joined swarm=home cells=3"
    )


def test_values_that_could_be_read_as_more_are_quoted() -> None:
    assert format_value("a b") == '"a b"'
    assert format_value('x="y"') == '"x=\\"y\\""'
    assert format_value("a\nlevel=error") == '"a\\nlevel=error"'
    assert format_value("") == '""'
    assert format_value("é") == '"\\u00e9"'


def test_values_have_their_plain_forms() -> None:
    assert format_value(True) == "true"
    assert format_value(None) == "None"
    assert format_value(b"\x01\xff") == "01ff"
    assert format_value(0.1 + 0.2) == "0.3"


def test_a_hostile_value_is_cut() -> None:
    assert len(format_value("x" * 1_000_000)) <= limits.MAX_LOG_VALUE_CHARACTERS + 3
    assert len(format_value(b"x" * 1_000_000)) <= limits.MAX_LOG_VALUE_CHARACTERS + 3


def test_each_event_is_one_write_of_one_line() -> None:
    written: list[str] = []
    log = LineLog("gateway", now=lambda: 0.0, write=written.append)
    log.info("a")
    log.warning("b", text="x\ny")
    log.error("c")
    assert [line.count("\n") for line in written] == [1, 1, 1]
    assert [line.split()[1] for line in written] == ["level=info", "level=warning", "level=error"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """Where lines go; full or not."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_full = False

    def write(self, line: str) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.lines.append(line)

    def events(self) -> list[str]:
        return [line.split("event=")[1].split()[0] for line in self.lines]


@pytest.mark.fault("F3")
def test_a_line_that_cannot_be_written_fails_nothing_and_is_counted() -> None:
    disk = Disk()
    log = LineLog("gateway", now=lambda: 0.0, write=disk.write)
    disk.is_full = True
    log.error("a")
    log.warning("b")
    disk.is_full = False
    log.info("c")
    log.info("d")
    assert disk.events() == ["log_lines_lost", "c", "d"]
    assert 'lines=2 error="No space left on device"' in disk.lines[0]


@pytest.mark.fault("F3")
def test_standard_error_on_a_full_disk_fails_nothing() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        LineLog("cell", write=DescriptorOutput(full.fileno()).write).error("a")


@pytest.mark.fault("F3")
def test_a_pipe_that_nobody_reads_stops_nobody() -> None:
    readable, writable = os.pipe()
    try:
        log = LineLog("cell", write=DescriptorOutput(writable).write, monotonic=Clock())
        for number in range(2000):
            log.warning(f"event_{number}", text="x" * 400)  # far more than a pipe holds
        os.close(readable)
        readable = -1
        log.error("closed")
    finally:
        for descriptor in (readable, writable):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.mark.fault("F3")
def test_an_event_that_comes_too_often_is_dropped_and_counted() -> None:
    clock, disk = Clock(), Disk()
    log = LineLog("gateway", now=lambda: 0.0, write=disk.write, monotonic=clock)
    for _ in range(LOG_BURST_LINES + 900):
        log.warning("request_failed")
    log.error("another")
    clock.now = 2 / LOG_LINES_PER_S
    log.warning("request_failed")
    log.warning("request_failed")
    counts = [re.search(r"(?:lines|dropped)=(\d+)", line) for line in disk.lines]
    assert sum(int(count[1]) for count in counts if count is not None) == 900
    assert disk.events().count("request_failed") == LOG_BURST_LINES + 2
    assert "another" in disk.events()


@pytest.mark.fault("F3")
def test_what_was_dropped_is_said_at_the_end_at_the_latest() -> None:
    disk = Disk()
    log = LineLog("gateway", now=lambda: 0.0, write=disk.write, monotonic=Clock())
    for _ in range(LOG_BURST_LINES + 5):
        log.warning("request_failed")
    log.close()
    lost = [int(line.split("lines=")[1]) for line in disk.lines if "log_lines_dropped" in line]
    assert sum(lost) == 5


@pytest.mark.fault("F3")
def test_a_file_of_log_lines_is_rotated_by_size(tmp_path: Path) -> None:
    output = FileOutput(tmp_path / "log", max_bytes=1000, kept=2)
    for number in range(100):
        output.write(f"line {number:03d} {'x' * 90}\n")
    output.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["log", "log.1", "log.2"]
    assert max(sizes.values()) <= 1000
    kept = [(tmp_path / name).read_text().split("\n")[0][:8] for name in ("log.2", "log.1", "log")]
    assert kept == sorted(kept)
    assert "line 099" in (tmp_path / "log").read_text()


@pytest.mark.fault("F3")
def test_a_line_that_an_earlier_life_broke_off_is_ended_first(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("whole\nbroken o")
    output = FileOutput(tmp_path / "log")
    output.write("next\n")
    output.close()
    assert (tmp_path / "log").read_text() == "whole\nbroken o\nnext\n"


@pytest.mark.fault("F3", "L")
def test_a_log_is_for_its_owner_only(tmp_path: Path) -> None:
    FileOutput(tmp_path / "log").close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.fault("F3")
def test_a_log_that_cannot_be_opened_leaves_its_lines_on_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = open_log("cell", tmp_path / "absent" / "log")
    log.info("joined")
    shown = capfd.readouterr().err
    assert "event=log_not_opened" in shown
    assert "event=joined" in shown


@pytest.mark.fault("F3")
@pytest.mark.parametrize("stream", ["1>/dev/full", "2>/dev/full", "1>&-", "2>&-"])
def test_a_daemon_that_cannot_speak_serves(tmp_path: Path, stream: str) -> None:
    """Its last words, after a ready line and a log line, are in its exit code."""
    program = (
        "from common.system.log import LineLog\n"
        "from common.system.process import say_ready\n"
        "log = LineLog('cell')\n"
        "log.error('a')\n"
        "say_ready(log, {'role': 'cell'})\n"
        "log.error('b')\n"
        "raise SystemExit(17)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    command = f"exec {sys.executable} {script} {stream}"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        ["/bin/sh", "-c", command], check=False, env={"PYTHONPATH": str(root)}, timeout=30
    )
    assert done.returncode == 17
