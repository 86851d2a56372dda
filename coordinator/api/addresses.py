"""Addresses that the operators' API names to others."""

from __future__ import annotations

from common.ports import Address


def advertised_url(address: Address) -> str:
    """Return the URL of the API for tools on this machine; a wildcard host is shown as loopback."""
    host = "127.0.0.1" if address.is_wildcard else address.host
    return f"http://{Address(host, address.port)}"
