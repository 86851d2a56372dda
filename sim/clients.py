"""The clients of a run, as its scenario has them and its seed draws them."""

from __future__ import annotations

import random
from typing import Final

from gateway.principals import account_of
from sim.checkers.clocks import ClockBook
from sim.checkers.lifecycle import DAY_S
from sim.cluster import Cluster
from sim.guests import Guests
from sim.history import OperationHistory
from sim.operator import TenantOperator
from sim.options import Options
from sim.pace import Pulse, WorkloadPace
from sim.s3_client import S3Client
from sim.scenario import Scenario
from sim.workloads import BUCKET, DEFAULT_MIX, Workload
from sim.workloads_access import ACCESS_MIX, USER, USER_KEY, AccessWorkload
from sim.workloads_keys import KEYS_MIX, KeysWorkload
from sim.workloads_lifecycle import AGE_MIX, LifecycleWorkload
from sim.workloads_locks import LOCK_MIX, LocksWorkload
from sim.workloads_parts import BLIND_MIX, PartsWorkload
from sim.world import SimWorld

SECOND_BUCKET: Final = "comb"
"""Has the same keys as the first one, where a coordinator lies."""


class Clients:
    """Draws what the clients of a run do, and brings them.

    Clients that keep versions, and those that set rules, believe no coordinator that lies, and no
    older store.

    Args:
        seed: of the run.
        options: get a short lifecycle day where clients set rules.
    """

    def __init__(
        self, scenario: Scenario, seed: int, swarm: SimWorld, options: Options, guests: Guests
    ) -> None:
        self._count = max(1, scenario.clients)
        self._seed = seed
        self._options = options
        self._has_liar = guests.liar is not None
        self._is_calm = not scenario.kinds
        is_honest = not (guests.liar or guests.has_older)
        self._has_versions = swarm.random("versions").random() < scenario.versions and is_honest
        self._has_rules = (
            not self._has_versions and is_honest and swarm.random("rules").random() < scenario.rules
        )
        self._is_shared_bucket_versioned = (
            scenario.versions > 0 and swarm.random("shared versions").random() < 0.5
        )
        if self._has_rules:
            gateway = options.overrides.setdefault("gateway", {})
            gateway["lifecycle_day_s"] = DAY_S

    async def come(
        self, cluster: Cluster, history: OperationHistory, pulse: Pulse
    ) -> list[Workload]:
        """Make their buckets (setup: no faults yet). Returns them; where a coordinator lies, they
        work in two buckets that have the same keys."""
        workloads: list[Workload] = []
        for number in range(self._count):
            workloads.append(await self._client(number, cluster, history, pulse))
        for workload in {each.bucket: each for each in workloads}.values():
            await workload.make_bucket()
            if self._is_shared_bucket_versioned:
                await workload.keep_versions()
        for workload in workloads:
            await workload.make_own_bucket()
        return workloads

    async def _client(
        self, number: int, cluster: Cluster, history: OperationHistory, pulse: Pulse
    ) -> Workload:
        gateway = number % self._options.gateways
        given = (
            cluster.client(f"client-{number}", gateway),
            history,
            random.Random(f"{self._seed}/client-{number}"),
            self._options.pace,
            pulse,
        )
        own_bucket = f"kept-by-{number}"
        if self._has_versions:
            keeper = LocksWorkload(*given, LOCK_MIX)
            keeper.prepare(own_bucket)
            return keeper
        if self._has_rules:
            return await self._ruling(number, gateway, cluster, given, own_bucket)
        mix = BLIND_MIX if self._has_liar else DEFAULT_MIX
        bucket = SECOND_BUCKET if self._has_liar and number % 2 else BUCKET
        return PartsWorkload(*given, mix, bucket)

    async def _ruling(
        self,
        number: int,
        gateway: int,
        cluster: Cluster,
        given: tuple[S3Client, OperationHistory, random.Random, WorkloadPace, Pulse],
        own_bucket: str,
    ) -> Workload:
        """One that sets rules, one that shares, one that has named keys, in turns."""
        entropy = cluster.swarm.random(f"operator {number}").randbytes
        operator = TenantOperator(cluster, "sim", cluster.tenant, entropy)
        if number % 3 == 0:
            aging = LifecycleWorkload(*given, AGE_MIX)
            daemons = (cluster.gateways, cluster.coordinators)
            clocks = ClockBook(*([each.node for each in kind] for kind in daemons))
            aging.prepare(own_bucket, gateway, clocks)
            return aging
        if number % 3 == 1:
            sharing = AccessWorkload(*given, ACCESS_MIX)
            guest, credentials = await cluster.add_tenant("guest", "guest")
            user = await operator.add_user_key(USER_KEY)
            others = {
                USER: cluster.client(f"{USER}-{number}", gateway, user),
                "guest": cluster.client(f"guest-{number}", gateway, credentials),
                "anonymous": cluster.client(f"anonymous-{number}", gateway, is_anonymous=True),
            }
            account = account_of(guest)
            sharing.prepare(own_bucket, operator, others, account, is_calm=self._is_calm)
            return sharing
        keeping = KeysWorkload(*given, KEYS_MIX)
        keeping.prepare(own_bucket, operator)
        return keeping
