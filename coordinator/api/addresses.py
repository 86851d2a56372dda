"""Addresses that the operators' API names to others."""

from __future__ import annotations

from common.ports import Address


def is_wildcard(address: Address) -> bool:
    """Return whether an address stands for every address of the machine, and so leads nowhere."""
    return address.host in ("0.0.0.0", "::", "")  # noqa: S104  # nothing listens here


def advertised_url(address: Address) -> str:
    """Return the URL of the API for tools on this machine; a wildcard host is shown as loopback."""
    host = "127.0.0.1" if is_wildcard(address) else address.host
    return f"http://{Address(host, address.port)}"
