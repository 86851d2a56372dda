"""``alveary up``: a whole swarm on this machine, one process per daemon, in the foreground."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import click
import trio

from cli.files import lock_directory
from cli.operators import DEFAULT_DATA
from cli.ports import parse_address
from cli.processes import DaemonProcess, Processes
from cli.report import print_error
from cli.supervisor import LocalSwarm
from cli.swarm_directory import (
    FEWEST_SITES,
    S3Credentials,
    Settings,
    SwarmDirectory,
    parse_redundancy,
)
from common import limits
from common.system.process import die_with_parent, keep_files_private
from coordinator.config import JournalUse
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.policy.classes import weaknesses
from coordinator.policy.journal import FEWEST
from coordinator.policy.placement import Redundancy, default_quorum


def greeting(settings: Settings, credentials: S3Credentials, root: Path) -> str:
    """Return what a person needs to use the swarm: a ready line, then lines to copy and paste."""
    endpoint, region = credentials.endpoint, credentials.region
    key, secret = credentials.access_key, credentials.secret_key
    return f"""\
alveary is ready: {_size(settings)}, redundancy {settings.redundancy}, S3 at {endpoint}

  endpoint    {endpoint}
  region      {region}
  access key  {key}
  secret key  {secret}
  (also in {root / "credentials.json"})
{_warning(settings, credentials)}
aws-cli:
  export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region}
  aws --endpoint-url {endpoint} s3 mb s3://first
  aws --endpoint-url {endpoint} s3 cp README.md s3://first/
  aws --endpoint-url {endpoint} s3 ls s3://first

rclone:
  export RCLONE_CONFIG_ALVEARY_TYPE=s3 RCLONE_CONFIG_ALVEARY_PROVIDER=Other \\
    RCLONE_CONFIG_ALVEARY_ENDPOINT={endpoint} RCLONE_CONFIG_ALVEARY_REGION={region} \\
    RCLONE_CONFIG_ALVEARY_ENV_AUTH=true
  rclone copy README.md alveary:first
  rclone ls alveary:first
{_trust(credentials.ca_file)}{_of_loss(root)}
Ctrl-C stops it; started again on the same --data, everything is there."""


def _size(settings: Settings) -> str:
    cells = f"{settings.cells} cells"
    return f"{settings.sites} sites with {cells}" if settings.sites else cells


def _of_loss(root: Path) -> str:
    """Return what becomes of the objects when the coordinator's disk is lost, and what helps."""
    directory = SwarmDirectory(root)
    recovery = directory.daemon("coordinator") / RECOVERY_NAME
    use = directory.read_daemon_config("coordinator").get("journal", JournalUse.ON)
    if use == JournalUse.ON and recovery.exists():
        return f"""
IMPORTANT: keep a copy of this file on another disk or machine, secret:
  {recovery}
If the disk with {recovery.parent} is lost, it and the cells bring the coordinator back
(alveary coordinator recover); without it every object is lost. docs/operations.md, "A lost
coordinator".
"""
    why = (
        'In coordinator/config.toml stands journal = "off".'
        if use != JournalUse.ON
        else f"Fewer than {FEWEST} cells keep no journal."
    )
    return f"""
IMPORTANT: where every object is stands in {directory.daemon("coordinator")} alone.
{why} Back it up: alveary coordinator backup.
docs/operations.md, "A lost coordinator".
"""


def _warning(settings: Settings, credentials: S3Credentials) -> str:
    """A line for who listens in the clear where others can connect; else nothing."""
    if credentials.endpoint.startswith("https:") or parse_address(settings.s3).is_loopback:
        return ""
    return (
        f"\nWARNING: S3 at {settings.s3} is in the clear: names and contents can be read on "
        "the way.\n         Use --tls, or listen at 127.0.0.1 behind a proxy that speaks TLS.\n"
    )


def _trust(ca_file: str | None) -> str:
    """Return how to make each client trust the local authority; nothing without one."""
    if ca_file is None:
        return ""
    return f"""
Clients trust the certificate by its authority, {ca_file}:
  aws-cli, boto3, s5cmd:  export AWS_CA_BUNDLE={ca_file}
                          (or: aws --ca-bundle {ca_file}; boto3.client(..., verify="{ca_file}"))
  rclone:                 export RCLONE_CA_CERT={ca_file}   (or: rclone --ca-cert {ca_file})
  Node.js:                export NODE_EXTRA_CA_CERTS={ca_file}
  curl:                   curl --cacert {ca_file} {{...}}
"""


def _show_death(daemon: DaemonProcess) -> None:
    print_error(
        f"{daemon.name} (process {daemon.pid}) died: {daemon.exit_text()}; "
        f"its log is {daemon.log_path}"
    )


def class_warnings(settings: Settings) -> list[str]:
    """Return in words what the swarm's class does not survive when one of its cells is lost."""
    k, n = parse_redundancy(settings.redundancy)
    redundancy = Redundancy(k, n, default_quorum(k, n))
    found = list(weaknesses(redundancy, [1] * settings.cells))
    if settings.sites:
        found += _site_weaknesses(redundancy, settings.sites)
    return [f"warning: {each}" for each in found]


def _site_weaknesses(redundancy: Redundancy, sites: int) -> list[str]:
    """Return in words what the loss of one site stops, where a ring is spread evenly."""
    left = redundancy.n - -(-redundancy.n // sites)
    name = f"{redundancy.k}/{redundancy.n}"
    if left < redundancy.k:
        return [f"with {name} on {sites} sites, objects cannot be read while a site is away"]
    if left < redundancy.quorum:
        return [
            f"with {name} on {sites} sites, writes wait for a smaller class while a site is away:"
            " docs/operations.md, 'Three sites on one machine'"
        ]
    return []


async def _wait_signal(*, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            return


async def supervise(root: Path, settings: Settings, *, as_json: bool) -> int:
    """Start the swarm of a directory, and stop it when a signal comes.

    Returns:
        0 after a clean stop; 1 when a daemon had to be killed.

    Raises:
        BadConfig, Unavailable: it could not be started; what was started is stopped.
    """
    async with trio.open_nursery() as watchers:

        def on_death(daemon: DaemonProcess) -> None:
            _show_death(daemon)
            swarm.write_processes()

        swarm = LocalSwarm(SwarmDirectory(root), settings, Processes(watchers, on_death))
        swarm.forget_processes()
        try:
            async with trio.open_nursery() as nursery:

                async def stop_at_signal(*, task_status: trio.TaskStatus[None]) -> None:
                    await _wait_signal(task_status=task_status)
                    nursery.cancel_scope.cancel()

                await nursery.start(stop_at_signal)
                credentials = await swarm.start()
                if as_json:
                    ready = {"ready": True, **credentials.as_json(), "data": str(root)}
                    print(json.dumps(ready), flush=True)
                else:
                    print(greeting(settings, credentials, root), flush=True)
        finally:
            with trio.CancelScope(shield=True):
                killed = await swarm.stop()
        watchers.cancel_scope.cancel()
    if killed:
        print_error(f"killed after their deadline: {', '.join(killed)}")
    return 1 if killed else 0


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    show_default=True,
    help="Data directory.",
)
@click.option(
    "--sites",
    type=click.IntRange(FEWEST_SITES, limits.MAX_COORDINATOR_ADDRESSES),
    help="Run so many sites, each with its cells and a coordinator: any one may go.",
)
@click.option(
    "--cells",
    type=click.IntRange(1, limits.MAX_LOCAL_CELLS),
    help="Number of cells, over all sites (default 6; may grow later).",
)
@click.option(
    "--redundancy",
    help="K/N: any K of N shards restore the data (default 4/6; 2/6 with --sites).",
)
@click.option("--s3", help="HOST:PORT for S3 (default 127.0.0.1:9000).")
@click.option(
    "--tls/--no-tls",
    "tls",
    default=None,
    help="Speak S3 over TLS, with a local authority (as at the last start; at first not).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
@click.option("--parent-pid", type=int, hidden=True)
def up(
    data: Path,
    sites: int | None,
    cells: int | None,
    redundancy: str | None,
    s3: str | None,
    tls: bool | None,
    as_json: bool,
    parent_pid: int | None,
) -> int:
    """Run a whole swarm on this machine: a coordinator, cells and a gateway, one process each."""
    if parent_pid is not None:
        die_with_parent(parent_pid)
    keep_files_private()
    root = data.absolute()
    handle = lock_directory(root)
    try:
        settings = Settings.resolve(
            SwarmDirectory(root).read_settings(),
            cells=cells,
            redundancy=redundancy,
            s3=s3,
            tls=tls,
            sites=sites,
        )
        for warning in class_warnings(settings):
            print_error(warning)
        return trio.run(partial(supervise, root, settings, as_json=as_json))
    finally:
        os.close(handle)
