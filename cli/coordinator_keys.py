"""``alveary coordinator new-keys``: what to do when a coordinator's disk was stolen.

Source: docs/operations.md, "Replacing keys".
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import trio

from cli.report import print_result
from cli.swarm_directory import SwarmDirectory
from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system.clock import system_entropy
from common.system.disk import RealDisk, hold_directory
from coordinator.secrets import IDENTITY_NAME, replace_keys


def _coordinator_directory(data: Path) -> Path:
    """Return the coordinator's own directory: what was named, or the one of `alveary up` in it."""
    for each in (data / "coordinator", data):
        if (each / IDENTITY_NAME).exists():
            return each
    raise BadConfig(ConfigFault.NO_SUCH_COORDINATOR, message=f"there is no coordinator in {data}")


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The coordinator's directory, or that of `alveary up`. It must not run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def new_keys(data: Path, as_json: bool) -> None:
    """Replace the swarm's key, the coordinator's own, the swarm's secret and the operator's token.

    For a swarm whose key was stolen: a coordinator's own is shut out with `alveary coordinator
    revoke`. A thief of the old ones can do nothing with them any more, once cells and gateways
    trust the new key: give each a fresh token (`alveary invite`, `alveary invite --gateway`) to run
    `alveary cell trust TOKEN` and `alveary gateway trust TOKEN` with. Other coordinators are added
    again. No data is touched.
    """
    directory = _coordinator_directory(data.absolute())
    with hold_directory(directory):
        peer_id = trio.run(replace_keys, RealDisk(directory), system_entropy)
    up = SwarmDirectory(directory.parent)
    settings = up.read_settings() if directory.name == "coordinator" else None
    if settings is not None:  # `alveary up` gives its cells and its gateway the new id itself.
        up.write_settings(replace(settings, coordinator_id=""))
    print_result(
        {"coordinator_id": peer_id.hex()},
        as_json=as_json,
        text=f"the id of the swarm's new key is {peer_id.hex()}",
    )
