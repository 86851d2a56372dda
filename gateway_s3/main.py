"""The gateway's composition root."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from common import limits
from common.ports import Disk, World
from common.system import daemon
from common.system.certificates import CertificateFiles
from common.system.disk import RealDisk
from common.system.webhooks import HttpxSender
from gateway_s3.config import GatewayConfig
from gateway_s3.service import RunningGateway, serve


def run(config: GatewayConfig) -> int:
    """Run a gateway until SIGTERM or SIGINT, then let running requests finish. SIGHUP has it look
    at its certificate's files.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        BadConfig: a value cannot be used on this machine.
    """
    return daemon.run(
        daemon.Daemon(
            role="gateway",
            data=Path(config.data),
            log_path=config.log_path,
            serve=partial(_serve, config),
            facts=_facts,
            shared=True,
            kept_memory_bytes=limits.GATEWAY_KEPT_MEMORY_BYTES,
            drain=RunningGateway.drain,
            look_again=RunningGateway.look_at_certificate,
        )
    )


async def _serve(
    config: GatewayConfig, world: World, *, task_status: trio.TaskStatus[RunningGateway]
) -> None:
    sender = HttpxSender()
    try:
        await serve(
            world,
            config,
            _disk_of(config.tenants),
            _certificates(config),
            webhooks_disk=_disk_of(config.webhooks),
            sender=sender,
            task_status=task_status,
        )
    finally:
        await sender.close()


def _disk_of(directory: str) -> Disk | None:
    """The disk of a directory that does not lie in the daemon's own; None: it does."""
    path = Path(directory)
    return RealDisk(path) if path.is_absolute() else None


def _certificates(config: GatewayConfig) -> CertificateFiles | None:
    return None if config.tls_files is None else CertificateFiles(*config.tls_files)


def _facts(serving: RunningGateway) -> dict[str, object]:
    return {
        "s3": str(serving.s3),
        "secure": serving.certificate is not None,
        "http": None if serving.http is None else str(serving.http),
        "peer_id": serving.peer_id.hex(),
    }
