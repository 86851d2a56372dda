"""The gateway's composition root: the real world, the service, signals and the ready line."""

from __future__ import annotations

import signal
from pathlib import Path

import trio

from common import limits
from common.ports import Disk
from common.system.certificates import CertificateFiles
from common.system.disk import RealDisk, hold_directory
from common.system.process import say_ready
from common.system.world import open_world
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
    with hold_directory(Path(config.data), shared=True):
        trio.run(_run, config)
    return 0


def _tenants_disk(config: GatewayConfig) -> Disk | None:
    path = Path(config.tenants)
    return RealDisk(path) if path.is_absolute() else None


def _certificates(config: GatewayConfig) -> CertificateFiles | None:
    return None if config.tls_files is None else CertificateFiles(*config.tls_files)


def _facts(serving: RunningGateway) -> dict[str, object]:
    return {
        "role": "gateway",
        "s3": str(serving.s3),
        "secure": serving.certificate is not None,
        "http": None if serving.http is None else str(serving.http),
        "peer_id": serving.peer_id.hex(),
    }


async def _run(config: GatewayConfig) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with open_world(
            Path(config.data),
            "gateway",
            log_path=config.log_path,
            kept_memory_bytes=limits.GATEWAY_KEPT_MEMORY_BYTES,
        ) as world:
            async with trio.open_nursery() as nursery:

                async def start() -> None:
                    serving: RunningGateway = await nursery.start(
                        serve, world, config, _tenants_disk(config), _certificates(config)
                    )
                    say_ready(world.log, _facts(serving))
                    started.append(serving)

                started: list[RunningGateway] = []
                nursery.start_soon(start)
                async for number in signals:
                    if number == signal.SIGHUP:
                        for serving in started:
                            serving.look_at_certificate()
                        continue
                    if started:
                        await started[0].drain()
                    nursery.cancel_scope.cancel()
                    break
