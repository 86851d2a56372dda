"""Three sites with a coordinator each, in network namespaces, under a load: any coordinator is
killed, sleeps or is cut off, both ways or one way, and what was acknowledged is there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from e2e_site_rounds import BUCKET, KINDS, Round, Rounds, clients_on, print_summary
from e2e_sites import CoordinatedSites, why_no_sites
from e2e_swarm import QUICK, wait_until

ROUNDS = int(os.environ.get("ALVEARY_TAKEOVER_ROUNDS", "1"))
RESUMED_WITHIN_S = 15.0
READS_FAIL_FOR_S = 2.0
ASLEEP_S = float(os.environ.get("ALVEARY_ASLEEP_S", "60"))
STAYS_CUT_S = 12.0

pytestmark = pytest.mark.skipif(bool(why_no_sites()), reason=why_no_sites())


@pytest.fixture
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatedSites]:
    made = CoordinatedSites(tmp_path_factory.mktemp("sites"), 3, 1, "2/3", **QUICK)
    try:
        made.start()
        yield made
    finally:
        made.destroy()


def follow(sites: CoordinatedSites, count: int) -> bool:
    """Return whether so many standbys follow the active one."""
    active = sites.active()
    told: dict[str, Any] = {} if active is None else sites.answer_of(active)
    return sum(each["follows"] for each in told.get("standbys", [])) == count


def one_round(rounds: Rounds, number: int, chance: random.Random) -> Round:
    """Strike one coordinator, the active one three times of four."""
    active = rounds.sites.active()
    assert active is not None
    kind = KINDS[number % len(KINDS)]
    if number % 4 != 3:
        return rounds.play(kind, active, "the active one")
    others = [each for each, _ in enumerate(rounds.sites.coordinators) if each != active]
    return rounds.play(kind, chance.choice(others), "a standby")


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.fault("M4", "F5", "F14")
@pytest.mark.timeout(240 + 150 * ROUNDS)
def test_any_sites_coordinator_may_go_and_nothing_that_was_acknowledged_is_lost(
    sites: CoordinatedSites,
) -> None:
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    wait_until((sites.root / "coordinator" / "recovery.json").exists, 60, "the journal is kept")
    sites.start_others()
    wait_until(lambda: follow(sites, 2), 60, "both follow")
    wait_until(lambda: sites.known_to_gateway() == 3, 60, "all are known")
    chance, played = random.Random(ROUNDS), []
    with clients_on(sites) as seen:
        rounds = Rounds(
            sites,
            seen,
            within_s=RESUMED_WITHIN_S,
            asleep_s=ASLEEP_S,
            stays_cut_s=STAYS_CUT_S,
            is_whole=lambda: follow(sites, 2),
        )
        for number in range(ROUNDS):
            played.append(one_round(rounds, number, chance))
            print(f"round {number + 1}, {played[-1]}", flush=True)
    print_summary(played)
    assert max(each.no_write_s for each in played) <= RESUMED_WITHIN_S or ROUNDS == 1
    assert max(each.reads_failed_s for each in played) <= READS_FAIL_FOR_S or ROUNDS == 1
