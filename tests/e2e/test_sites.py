"""Whole sites that go, with real processes in network namespaces: one per site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from e2e_repair import Load, has_full_margin, unreadable
from e2e_sites import Sites, names_of, why_no_sites
from e2e_swarm import QUICK, wait_until

BUCKET = "sites"
WINDOW_S = 10.0
"""What is begun later after the loss of a site has to succeed."""
SAMPLE = 15

pytestmark = pytest.mark.skipif(bool(why_no_sites()), reason=why_no_sites())


@pytest.fixture
def make_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sites]]:
    made: list[Sites] = []

    def make(*arguments: Any, **settings: object) -> Sites:
        sites = Sites(tmp_path_factory.mktemp("sites"), *arguments, **QUICK, **settings)
        made.append(sites)
        sites.start()
        wait_until(
            lambda: all(each["state"] == "alive" for each in sites.operator("status")["cells"]),
            60,
            "every cell is heard",
        )
        return sites

    yield make
    for sites in made:
        sites.destroy()


def assert_no_failure_after(load: Load, lost_at: float) -> None:
    """Let clients work on until enough requests were begun after the window: none may fail."""
    time.sleep(max(0.0, lost_at + WINDOW_S - time.monotonic()))
    load.wait_for(lost_at + WINDOW_S, SAMPLE)
    after = load.since(lost_at + WINDOW_S)
    failed = [each for each in after if each.error]
    assert not failed, f"{len(failed)} of {len(after)}: {failed[:3]}"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_five_sites_read_and_write_without_one_and_read_all_without_two(
    make_sites: Callable[..., Sites],
) -> None:
    sites = make_sites(5, 1, "3/5")
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
        with Load(sites.boto3, BUCKET) as load:
            load.wait_for(0, SAMPLE)
            assert not [each for each in load.since(0) if each.error]
            lost_at = time.monotonic()
            sites.cut(1)
            assert_no_failure_after(load, lost_at)
        sites.kill(*names_of([3], sites))
        time.sleep(WINDOW_S)
        assert not unreadable(s3, BUCKET, load.written)
        # None of them was declared lost, and within a minute they have what they missed.
        assert not has_full_margin(sites.root / "coordinator")
        sites.mend(1)
        data = str(sites.root / "cell-3")
        sites.run("cell-3", 1 + 3, "cell", "--data", data)
        wait_until(lambda: has_full_margin(sites.root / "coordinator"), 60, "full margin again")


@pytest.mark.timeout(240)
def test_three_sites_of_two_cells_write_on_without_one_and_what_they_write_survives_two_more(
    make_sites: Callable[..., Sites],
) -> None:
    sites = make_sites(3, 2, "4/6")
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
        with Load(sites.boto3, BUCKET, prefix="before") as before:
            before.wait_for(0, SAMPLE)
        assert not [each for each in before.since(0) if each.error]
        lost_at = time.monotonic()
        sites.kill(*names_of([2], sites))
        with Load(sites.boto3, BUCKET, prefix="after") as load:
            assert_no_failure_after(load, lost_at)
        assert not unreadable(s3, BUCKET, before.written)
        status = sites.operator("status")
        assert status["written_as"].startswith("2/4"), status["written_as"]
        # Four cells have it all: two of any of them may go, here one of each site.
        sites.kill("cell-0", "cell-2")
        assert not unreadable(s3, BUCKET, load.written)
