"""``alveary durability`` answers in words and as JSON; ``alveary up`` warns of a weak class."""

from __future__ import annotations

import json

import pytest

from cli.durability import Assumptions, describe_loss, if_a_site_fails, survives_text, swarm_now
from cli.main import main
from cli.swarm_directory import Settings
from cli.up import class_warnings
from coordinator.policy.losses import Loss


def test_a_class_is_calculated_without_a_swarm(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["durability", "--class", "4/6", "--mttf-years", "1", "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["class"] == "4/6"
    assert answer["threshold"] == 6
    assert f"{answer['annual_loss_nines']:.1f}" == "3.1"
    assert answer["repairs_per_year"] == pytest.approx(5.9, abs=0.1)
    assert answer["moved_tb_per_stored_tb_year"] == pytest.approx(
        answer["repairs_per_year"] * 5 / 4
    )


def test_a_threshold_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["durability", "--class", "10/16", "--threshold", "14"]) == 0
    text = capsys.readouterr().out
    assert "repair begins below 14 live shards" in text
    assert "8.3 nines" in text
    assert "The time to repair is an assumption" in text


@pytest.mark.parametrize(
    "wrong",
    [
        ["--class", "4/6", "--threshold", "4"],
        ["--class", "4/6", "--threshold", "7"],
        ["--class", "6/4"],
        ["--class", "x"],
        ["--class", "4/6", "--mttf-years", "0"],
    ],
)
def test_what_makes_no_sense_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["durability", *wrong]) == 2
    assert capsys.readouterr().err


def test_a_loss_too_small_for_a_number_is_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--class", "1/64", "--mttf-years", "1000", "--repair-hours", "0.0001", "--json"]
    assert main(["durability", *arguments]) == 0
    text = capsys.readouterr().out
    assert "Infinity" not in text
    assert json.loads(text)["annual_loss_nines"] is None


def test_the_table_has_a_row_for_three_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["durability", "--table"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[3][:5] == ["3", "3", "1/2", "2", "x2.00"]
    assert main(["durability", "--table", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[2]["class"] == "1/2"
    assert rows[2]["writes_sites"] == 1


def test_losses_are_put_in_words() -> None:
    well = describe_loss(Loss("Bologna", 2, 2, 0, True), of="site Bologna")
    assert well == "if site Bologna fails now: nothing lost, margin 2; writes go on"
    badly = describe_loss(Loss("Roma", 3, -1, 1, False), of="site Roma")
    assert badly.startswith("if site Roma fails now: 1 ring CANNOT BE READ without it")
    assert badly.endswith("WRITES STOP")
    assert survives_text(0, 0) == "none"
    assert survives_text(1, 2) == "any 1 box, any 2 sites"


def test_status_names_the_worst_sites_and_counts_slots_that_lack_shards() -> None:
    cells = [
        {"cell_id": f"{number:064x}", "site": site, "owner": f"h{number}", "state": "alive"}
        for number, site in enumerate(("Bologna", "Roma", "Torino", "Udine", "Bologna", "Roma"))
    ]
    ids = [each["cell_id"] for each in cells]
    ring = {"k": 4, "quorum": 5, "cells": ids, "state": "whole", "missing_slots": [2]}
    status = {"redundancy": "4/6", "cells": cells, "rings": [ring]}
    lines = if_a_site_fails(status, 2)
    assert lines[0].startswith("if site Bologna fails now: 1 ring CANNOT BE READ without it")
    assert lines[2] == "(2 more sites, none of them worse)"
    whole = {**status, "rings": [{**ring, "missing_slots": []}]}
    assert if_a_site_fails(whole, 9)[-1] == (
        "if site Udine fails now: nothing lost, margin 1; writes go on"
    )
    assert if_a_site_fails({**status, "rings": []}, 3) == []
    assert if_a_site_fails({**status, "cells": cells[:1], "rings": []}, 3) == []


def test_many_boxes_are_cut_and_what_was_not_seen_is_said() -> None:
    cells = [
        {"cell_id": f"{number:064x}", "site": "", "owner": "", "state": "alive"}
        for number in range(30)
    ]
    ring = {"k": 1, "quorum": 2, "cells": [each["cell_id"] for each in cells[:2]], "state": "whole"}
    status = {
        "swarm": "home",
        "redundancy": "1/2",
        "cells": cells,
        "rings": [ring],
        "rings_total": 7,
        "missing": {"segments_at_risk": 5},
    }
    result, text = swarm_now(status, Assumptions(4, 24, None, 4))
    assert "(10 more, none of them worse" in text
    assert "if the site without a name fails now: 1 ring CANNOT BE READ" in text
    assert f"if box {0:012x} fails now: nothing lost, margin 0" in text
    assert "Only 1 of 7 rings" in text
    assert "5 segments lack shards" in text
    assert len(result["boxes"]) == 30


@pytest.mark.parametrize(
    ("cells", "redundancy", "warned"),
    [(6, "4/6", 0), (3, "2/3", 1), (4, "2/3", 0), (3, "1/2", 0), (3, "1/3", 0)],
)
def test_up_warns_of_a_class_that_does_not_survive_one_cell(
    cells: int, redundancy: str, warned: int
) -> None:
    settings = Settings(cells=cells, redundancy=redundancy, s3="127.0.0.1:9000")
    assert len(class_warnings(settings)) == warned
