from pathlib import Path

import pytest
import trio

from cli.processes import Processes
from cli.supervisor import LocalSwarm
from cli.swarm_directory import Settings, SwarmDirectory

SETTINGS = Settings(cells=6, redundancy="4/6", s3="127.0.0.1:9000")


@pytest.mark.fault("F6")
async def test_a_list_of_processes_that_cannot_be_written_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "processes.json").mkdir()  # so that it can neither be written nor removed
    async with trio.open_nursery() as watchers:
        processes = Processes(watchers, lambda daemon: None)
        swarm = LocalSwarm(SwarmDirectory(tmp_path), SETTINGS, processes)
        swarm.write_processes()
        swarm.forget_processes()
        assert await swarm.stop() == []
    assert capsys.readouterr().err.count("warning: ") == 3
