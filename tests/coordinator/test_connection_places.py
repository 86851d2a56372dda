from __future__ import annotations

from common import limits
from coordinator.connection_places import connection_places


def test_places_of_both_kinds_fit_the_open_files() -> None:
    for open_files in (*range(limits.MIN_OPEN_FILES, 5000), limits.MAX_OPEN_FILES):
        places = connection_places(open_files)
        assert places.native + places.http + limits.KEPT_OPEN_FILES <= open_files
        assert places.http >= 64
        assert places.native >= 3 * places.http


def test_a_usual_machine_has_a_place_for_every_cell() -> None:
    places = connection_places(limits.MAX_OPEN_FILES)
    assert places.native == limits.MAX_CONNECTIONS_PER_COORDINATOR
    assert places.native >= places.needed(limits.MAX_CELLS)
    assert places.http == limits.MAX_HTTP_CONNECTIONS


def test_a_small_machine_has_too_few_for_many_cells() -> None:
    places = connection_places(limits.MIN_OPEN_FILES)
    assert places.native < places.needed(0)
