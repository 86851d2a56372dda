"""zeroconf: a coordinator announces itself on the LAN, and cells find it.

What is found is a hint: trust comes from the key that the join token pins.

Source: docs/operations.md, "Finding the coordinator".
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from common import limits
from common.errors import Unavailable
from common.ports import Address, Advertisement
from common.reasons import Outage

if TYPE_CHECKING:
    import zeroconf

SERVICE_TYPE: Final = "_alveary._tcp.local."
RESOLVE_TIMEOUT_MS: Final = 1000
OPEN_S: Final = 10.0


def service_name(swarm: str, host_name: str, port: int) -> str:
    """The instance name of one coordinator: unique on the LAN, at most 63 bytes of label."""
    label = f"{swarm}-{host_name}-{port}".replace(".", "-")
    return f"{label.encode()[:63].decode(errors='ignore')}.{SERVICE_TYPE}"


def _addresses_of(host: str) -> list[bytes]:
    try:
        return [ipaddress.ip_address(host).packed]
    except ValueError:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return sorted({ipaddress.ip_address(entry[4][0]).packed for entry in found})


def _read(info: zeroconf.ServiceInfo, swarm: str) -> Advertisement | None:
    named = (info.properties.get(b"swarm") or b"").decode("utf-8", "replace")
    hosts = info.parsed_addresses()
    if not hosts or not info.port or (swarm and named != swarm):
        return None
    return Advertisement(address=Address(hosts[0], info.port), swarm=named)


class _Responder:
    """zeroconf on a loop and a thread of our own, opened and closed from any thread. The loop is
    named, not asked of asyncio's policy: trio-asyncio changes that for the whole process, to loops
    that end only in the thread that made them."""

    def __init__(self) -> None:
        import zeroconf  # noqa: PLC0415 - costs 100 ms and 10 MiB; most daemons never look

        async def make() -> zeroconf.Zeroconf:
            return zeroconf.Zeroconf()

        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="zeroconf", daemon=True)
        self._thread.start()
        try:
            self.zeroconf = asyncio.run_coroutine_threadsafe(make(), self._loop).result(OPEN_S)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Take back what was announced, and end."""
        try:
            self.zeroconf.close()
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _find(swarm: str, timeout_s: float) -> list[Advertisement]:
    import zeroconf  # noqa: PLC0415 - as above

    names: dict[str, None] = {}
    found: list[Advertisement] = []

    def changed(  # Runs in the browser's own thread; zeroconf passes these by keyword.
        zeroconf: zeroconf.Zeroconf,
        service_type: str,
        name: str,
        state_change: zeroconf.ServiceStateChange,
    ) -> None:
        if len(names) < limits.MAX_DISCOVERED:
            names[name] = None

    with closing(_Responder()) as responder:
        zc = responder.zeroconf
        browser = zeroconf.ServiceBrowser(zc, SERVICE_TYPE, handlers=[changed])
        deadline = time.monotonic() + timeout_s
        asked: set[str] = set()
        while time.monotonic() < deadline and not found:
            time.sleep(0.05)
            for name in [each for each in list(names) if each not in asked]:
                asked.add(name)
                info = zc.get_service_info(SERVICE_TYPE, name, RESOLVE_TIMEOUT_MS)
                if info is not None and (seen := _read(info, swarm)) is not None:
                    found.append(seen)
        browser.cancel()
    return found


def _announce(address: Address, swarm: str) -> _Responder:
    import zeroconf  # noqa: PLC0415 - as above

    info = zeroconf.ServiceInfo(
        SERVICE_TYPE,
        service_name(swarm, socket.gethostname(), address.port),
        addresses=_addresses_of(address.host),
        port=address.port,
        properties={"swarm": swarm},
    )
    responder = _Responder()
    try:
        responder.zeroconf.register_service(info, allow_name_change=True)
    except BaseException:
        responder.close()
        raise
    return responder


class ZeroconfDiscovery:
    """A ``ports.Discovery`` over multicast DNS. zeroconf runs its own threads."""

    async def advertise(self, address: Address, swarm: str) -> None:
        """Announce until cancelled.

        Raises:
            Unavailable: ``no_discovery``: multicast does not work here. Tokens that carry the
                address work all the same.
        """
        try:
            responder = await trio.to_thread.run_sync(partial(_announce, address, swarm))
        except Exception as error:  # zeroconf raises its own tree, OSError and RuntimeError
            raise Unavailable(Outage.NO_DISCOVERY, error=str(error)) from error
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(responder.close)

    async def find(self, swarm: str, timeout_s: float) -> list[Advertisement]:
        """Coordinators of ``swarm`` (of any, if empty) that answer; the first ones end the wait.

        Raises:
            Unavailable: ``no_discovery``.
        """
        try:
            return await trio.to_thread.run_sync(
                partial(_find, swarm, timeout_s), abandon_on_cancel=True
            )
        except Exception as error:  # zeroconf raises its own tree, OSError and RuntimeError
            raise Unavailable(Outage.NO_DISCOVERY, error=str(error)) from error
