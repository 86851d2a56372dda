"""The local authority of ``alveary up --tls``, and the certificate that it signs for the gateway.

Source: docs/operations.md, "TLS for S3 clients".
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from cli.files import write_private
from common import limits
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ports import Address
from common.reasons import ConfigFault
from common.system.certificates import (
    Pem,
    is_authority,
    is_good_for,
    make_authority,
    make_server_certificate,
)

RENEW_BEFORE_S: Final = 60 * 86_400.0
"""A certificate that has less left is replaced at start: two months, for who seldom restarts."""
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
ANYWHERE: Final = frozenset({"0.0.0.0", "::", ""})


@dataclass(frozen=True, slots=True)
class LocalTls:
    """The files of a local swarm's TLS: what clients trust, and what the gateway shows."""

    authority: Path
    certificate: Path
    key: Path


def server_names(listen: Address) -> list[str]:
    """Return the names of the gateway: this machine's names, and the address it listens at."""
    names = [*_ALWAYS, socket.gethostname(), socket.getfqdn()]
    if listen.host not in ANYWHERE:
        names.append(listen.host)
    return list(dict.fromkeys([name for name in names if name and name.isascii()]))


def prepare_tls(directory: Path, listen: Address, now: float) -> LocalTls:
    """Make the authority if there is none, and the certificate if there is none, if it ends soon,
    or if the gateway is called by another name by now.

    Args:
        directory: where the files lie; private, since the authority's key is among them.
        listen: where the gateway listens.
        now: Unix seconds.

    Raises:
        BadConfig: ``cannot_read``, ``cannot_write``; ``bad_authority``: the authority's files are
            damaged or it has ended. It is not replaced: clients trust it.
    """
    files = LocalTls(directory / "ca.pem", directory / "s3.pem", directory / "s3-key.pem")
    key_of_authority = directory / "ca-key.pem"
    authority = _read(files.authority, key_of_authority)
    if authority is None:
        authority = make_authority(
            f"alveary {socket.gethostname()}"[: limits.MAX_COMMON_NAME_CHARACTERS], now
        )
        _write(files.authority, key_of_authority, authority)
    elif not is_authority(authority, now):
        raise BadConfig(
            ConfigFault.BAD_AUTHORITY,
            message=f"the authority in {directory} is damaged or has ended; remove the directory "
            "to have a new one made, which clients then have to trust",
        )
    names = server_names(listen)
    known = _read(files.certificate, files.key)
    if known is None or not is_good_for(known, authority, names, now + RENEW_BEFORE_S):
        made = make_server_certificate(authority, names, now)
        _write(files.certificate, files.key, made)
    return files


def _read(certificate: Path, key: Path) -> Pem | None:
    """Return the pair of files; None unless both exist."""
    try:
        return Pem(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadConfig(
            ConfigFault.CANNOT_READ, file=str(certificate), error=error.strerror
        ) from error


def _write(certificate: Path, key: Path, pem: Pem) -> None:
    # The key first: a certificate without its key is made again.
    write_private(key, pem.key.decode("ascii"))
    write_private(certificate, pem.certificate.decode("ascii"))
