"""Three sites with a coordinator each over one PostgreSQL, in network namespaces, under a load: any
coordinator is killed, sleeps or is cut off, both ways or one way, and what was acknowledged is
there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from e2e_coordinators import UNPAGED
from e2e_site_rounds import BUCKET, KINDS, Rounds, clients_on, print_summary
from e2e_sites import OUTSIDE, SUBNET, SharingSites, why_no_sites
from e2e_swarm import QUICK, wait_until
from postgres_server import PostgresServer, running_server, why_not

ROUNDS = int(os.environ.get("ALVEARY_POSTGRESQL_ROUNDS", "1"))
RESUMED_WITHIN_S = 5.0
READS_FAIL_FOR_S = 2.0
ASLEEP_S = float(os.environ.get("ALVEARY_ASLEEP_S", "15"))
STAYS_CUT_S = 6.0
WHY_NOT = why_not() or why_no_sites()

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server(admits=f"{SUBNET}.0/24", listen_addresses="*") as made:
        yield made


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
def sites(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharingSites]:
    store = url.replace("127.0.0.1", OUTSIDE)
    made = SharingSites(tmp_path_factory.mktemp("sites"), 3, 1, "2/3", store=store, **QUICK)
    try:
        made.start()
        yield made
    finally:
        made.destroy()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.fault("M4", "F5", "F14")
@pytest.mark.timeout(300 + 120 * ROUNDS)
def test_any_sites_coordinator_on_postgresql_may_go_and_nothing_acknowledged_is_lost(
    url: str, sites: SharingSites
) -> None:
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    sites.start_others()
    wait_until(lambda: sites.live() == 3, 60, "all three live")
    wait_until(lambda: sites.known_to_gateway() == 3, 60, "the gateway knows all three")
    chance, played = random.Random(ROUNDS), []
    with clients_on(sites) as seen:
        rounds = Rounds(
            sites,
            seen,
            within_s=RESUMED_WITHIN_S,
            asleep_s=ASLEEP_S,
            stays_cut_s=STAYS_CUT_S,
            is_whole=lambda: sites.live() == 3,
        )
        for number in range(ROUNDS):
            kind = KINDS[number % len(KINDS)]
            asked = sites.most_asked()
            others = [each for each, _ in enumerate(sites.coordinators) if each != asked]
            struck, whom = (
                (asked, "the one that the gateway asks")
                if number % 4 != 3
                else (chance.choice(others), "another one")
            )
            played.append(rounds.play(kind, struck, whom))
            print(f"round {number + 1}, {played[-1]}", flush=True)
    print_summary(played)
    with psycopg.connect(url) as connection:
        assert connection.execute(UNPAGED).fetchone() == (0,)
    assert max(each.no_write_s for each in played) <= RESUMED_WITHIN_S or ROUNDS == 1
    assert max(each.reads_failed_s for each in played) <= READS_FAIL_FOR_S or ROUNDS == 1
