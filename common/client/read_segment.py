"""Opening stripes of one segment: its units are fetched, joined and decrypted.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from common.client.fetch_units import ShardFetcher, Stripe
from common.crypto.stream import StripeCipher
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.erasure.stripe import decode_stripe


class SegmentOpener:
    """Makes plaintext of units.

    Args:
        geometry: of the segment.
        cipher: of the segment.
    """

    def __init__(self, geometry: Geometry, cipher: StripeCipher) -> None:
        self._geometry = geometry
        self._cipher = cipher
        self._code = make_code(geometry.k, geometry.n)

    def open(self, first: int, stripes: Sequence[Stripe]) -> list[memoryview]:
        """Return the plaintext of stripes, of which the first has the number ``first``. Changes
        nothing here; may run in a worker.

        Raises:
            Corrupt: ``stripe_not_authentic``.
        """
        return [
            decode_stripe(self._cipher, self._code, self._geometry, first + index, stripe)
            for index, stripe in enumerate(stripes)
        ]


class SegmentReader:
    """Reads stripes of one segment.

    Args:
        fetcher: of the segment.
        cipher: of the segment.
    """

    def __init__(self, fetcher: ShardFetcher, cipher: StripeCipher) -> None:
        self.geometry = fetcher.geometry
        self._fetcher = fetcher
        self._opener = SegmentOpener(fetcher.geometry, cipher)

    async def read(self, first: int, count: int) -> list[memoryview]:
        """Return the plaintext of ``count`` stripes from ``first`` on.

        Raises:
            Unavailable: ``too_few_shards``: fewer than k good ones can be reached.
            Corrupt: ``data_lost``: the coordinator knows that fewer than k are left;
                ``stripe_not_authentic``: all leaves hold and the seal does not.
        """
        return await self._fetcher.fetch(first, count, partial(self._opener.open, first))
