"""The certificate of the S3 listener: taken from its files, and again whenever they change.

Source: docs/operations.md, "TLS for S3 clients".
"""

from __future__ import annotations

from typing import Final

import trio

from common.errors import AlvearyError, BadConfig
from common.ports import Certificate, CertificateSource, Listener, Log, WallClock
from common.reasons import ConfigFault

CHECK_INTERVAL_S: Final = 10.0
"""Interval at which changed files are noticed without a signal."""
WARN_BEFORE_S: Final = 14 * 86_400.0
WARN_INTERVAL_S: Final = 86_400.0


class ServerCertificate:
    """Keeps a listener at the certificate of its files. A pair that cannot be used is logged and
    changes nothing: connections go on with the one before.

    Args:
        source: of the certificate.
        clock: to compare with the certificate's end.
    """

    def __init__(self, source: CertificateSource, clock: WallClock, log: Log) -> None:
        self._source = source
        self._clock = clock
        self._log = log
        self._asked = trio.Event()
        self._current: Certificate | None = None
        self._failed: str | None = None
        self._warned_s = float("-inf")

    def end(self) -> float:
        """Return when the certificate that is shown expires, Unix seconds; 0 before there is
        one."""
        return 0.0 if self._current is None else self._current.ends_at_s

    async def read_first(self) -> Certificate:
        """The certificate to listen with. One that has ended is used all the same, and logged.

        Raises:
            BadConfig: ``cannot_read``, ``bad_certificate``.
        """
        self._current = await self._source.read()
        self._warn_of_end(self._current)
        return self._current

    def ask(self) -> None:
        """Look at the files now and not at the next interval."""
        self._asked.set()

    async def run(self, listener: Listener) -> None:
        """Follow the files until cancelled.

        Args:
            listener: listening with what :meth:`read_first` returned.
        """
        while True:
            with trio.move_on_after(CHECK_INTERVAL_S):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), trio.Event()
            try:
                await self._follow(listener, asked=asked)
            except AlvearyError as error:
                # Files are replaced one after the other: the next look may find a whole pair.
                if asked or str(error) != self._failed:
                    self._log.error("certificate_not_taken", cause=str(error))
                self._failed = str(error)

    async def _follow(self, listener: Listener, *, asked: bool) -> None:
        assert self._current is not None
        found = await self._source.read()
        if found != self._current:
            now = self._clock.now()
            if found.ends_at_s <= now < self._current.ends_at_s:
                raise BadConfig(ConfigFault.CERTIFICATE_EXPIRED)
            listener.renew(found)
            self._current = found
            self._warned_s = float("-inf")
            self._log.info("certificate_taken", days_left=int((found.ends_at_s - now) // 86_400))
        elif asked:
            self._log.info("certificate_unchanged")
        self._failed = None
        self._warn_of_end(found)

    def _warn_of_end(self, certificate: Certificate) -> None:
        left_s = certificate.ends_at_s - self._clock.now()
        now = trio.current_time()
        if left_s > WARN_BEFORE_S or now < self._warned_s + WARN_INTERVAL_S:
            return
        self._warned_s = now
        if left_s <= 0:
            self._log.error("certificate_has_ended")
        else:
            self._log.warning("certificate_ends_soon", days_left=int(left_s // 86_400))
