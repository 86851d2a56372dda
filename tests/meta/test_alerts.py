"""deploy/alerts.yml names metrics that there are, and each alert has its runbook. With promtool
(Debian's package ``prometheus``), the rules are checked and tested, too."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from source_tree import ROOT

RULES = ROOT / "deploy" / "alerts.yml"
CASES = ROOT / "tests" / "meta" / "alerts_test.yml"
RUNBOOKS = ROOT / "docs" / "operations.md"
SUFFIX = {"counter": "_total", "histogram": "_count", "gauge": ""}
PROMTOOL = shutil.which("promtool")


class Alert(NamedTuple):
    name: str
    text: str

    @property
    def metrics(self) -> set[str]:
        expression = self.text.partition("expr:")[2].partition("labels:")[0]
        return set(re.findall(r"\balveary_\w+", expression))


def alerts() -> list[Alert]:
    parts = RULES.read_text(encoding="utf-8").split("- alert: ")[1:]
    return [Alert(part.split()[0], part) for part in parts]


def section(title: str) -> str:
    page = RUNBOOKS.read_text(encoding="utf-8")
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def runbooks() -> dict[str, str]:
    parts = section("Alerts").split("\n### ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def series() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(alveary_\w+)` \| (\w+) \|", page, re.MULTILINE)
    return {name + SUFFIX[kind] for name, kind in rows}


def test_there_are_alerts() -> None:
    names = [each.name for each in alerts()]
    assert len(names) == len(set(names)) > 25


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_asks_for_metrics_that_there_are(alert: Alert) -> None:
    assert alert.metrics
    assert alert.metrics <= series()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_how_grave_it_is_and_where_its_runbook_is(alert: Alert) -> None:
    assert re.search(r"severity: (critical|warning|info)\n", alert.text)
    assert "summary: " in alert.text
    assert f'runbook: "docs/operations.md#{alert.name.lower()}"' in alert.text


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert list(runbooks()) == [each.name for each in alerts()]


@pytest.mark.parametrize("name", runbooks())
def test_a_runbook_says_what_the_swarm_does_where_to_look_and_what_to_do(name: str) -> None:
    text = runbooks()[name]
    assert all(f"\n- *{label}:* " in text for label in ("By itself", "Look at", "Do"))


@pytest.mark.parametrize("name", runbooks())
def test_a_runbook_names_events_metrics_and_sections_that_there_are(name: str) -> None:
    text = re.sub(r"\s+", " ", runbooks()[name])
    page = RUNBOOKS.read_text(encoding="utf-8")
    others = [path for path in (ROOT / "docs").glob("*.md") if path != RUNBOOKS]
    known = "".join(path.read_text(encoding="utf-8") for path in others) + page.replace(
        section("Alerts"), ""
    )
    for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text):
        assert word.removesuffix("_total") in known, word
    assert set(re.findall(r"\balveary_\w+", text)) <= series()
    assert set(re.findall(r"\bAlveary[A-Z]\w+", text)) <= set(runbooks())
    for title in re.findall(r'\("([^"]+)"\)|(?:^|: )"([^"]+)":', text):
        assert re.search(rf"^#+ {re.escape(''.join(title))}$", page, re.MULTILINE), title


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = CASES.read_text(encoding="utf-8")
    missing = [each.name for each in alerts() if f"alertname: {each.name}\n" not in cases]
    assert missing == []


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", str(RULES)), ("test", "rules", str(CASES))], ids=lambda a: a[0]
)
def test_promtool_accepts_the_rules_and_their_cases(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
