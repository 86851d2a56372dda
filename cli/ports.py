"""TCP ports for the daemons of one machine: chosen once, remembered in their configurations."""

from __future__ import annotations

import secrets
import socket
from typing import Final

from common.config import address_of
from common.errors import BadConfig
from common.ports import Address
from common.reasons import ConfigFault

FIRST_PORT: Final = 20_000
LAST_PORT: Final = 31_999
"""Below the range that kernels take outgoing ports from (32768 on), so that a port that was free
yesterday is not some connection's own tomorrow."""
TRIES: Final = 200
LOOPBACK: Final = "127.0.0.1"


def parse_address(text: str) -> Address:
    """``host:port`` or ``[host]:port``.

    Raises:
        BadConfig: ``bad_address``.
    """
    address = address_of(text)
    if address is None:
        raise BadConfig(ConfigFault.BAD_ADDRESS, message=f"{text!r} is not a valid HOST:PORT")
    return address


def can_listen(address: Address) -> bool:
    """Return whether nobody listens at the address now."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        # As a daemon will: connections of its last life that linger do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address.host, address.port))
            trial.listen(1)
        except OSError:
            return False
    return True


class PortChooser:
    """Chooses ports on the loopback interface, never one twice."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def choose(self, remembered: str | None) -> Address:
        """The remembered ``host:port`` if it is free, else any free one.

        Raises:
            BadConfig: ``no_free_port``.
        """
        if remembered is not None:
            address = parse_address(remembered)
            if address.port not in self._taken and can_listen(address):
                self._taken.add(address.port)
                return address
        for _ in range(TRIES):
            port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
            address = Address(LOOPBACK, port)
            if port not in self._taken and can_listen(address):
                self._taken.add(port)
                return address
        raise BadConfig(ConfigFault.NO_FREE_PORT, message=f"no free port on {LOOPBACK}")
