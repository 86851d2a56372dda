"""A coordinator whose store cannot be written reads on, and says so."""

import pytest
import trio
from coordinator_rig import BUCKET, running

from common.errors import Unavailable


async def make_object(rig):
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    await gateway.put(b"kept")
    return gateway


@pytest.mark.fault("F10")
async def test_a_coordinator_on_a_full_disk_starts_and_answers_reads(autojump_clock):
    async with running() as rig:
        gateway = await make_object(rig)
        rig.node.platter.faults.refuses = "no_space"
        await rig.restart()
        await trio.sleep(10)
        await gateway.open()
        assert (await gateway.get(b"kept", bucket=BUCKET)).size == 100
        with pytest.raises(Unavailable):
            await gateway.make_bucket("another")
        rig.node.platter.faults.refuses = ""
        await trio.sleep(60)
        await gateway.open()
        await gateway.make_bucket("another")
