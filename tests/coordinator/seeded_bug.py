"""A plugin of pytest: the bug that SEEDED_BUG names is in the product that the tests import."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from sim.mutation import Change, Mutant, install

HERE = Path(__file__).parent
TESTS = {
    "moves": [HERE / f"test_{name}.py" for name in ("targets", "moves", "evening")],
    "audit": [
        HERE / "test_audit_policy.py",
        HERE / "test_reputation.py",
        HERE / "test_audits.py",
        HERE.parent / "cell" / "test_cell_audit.py",
        HERE.parent / "common" / "format" / "test_evidence.py",
    ],
    "charters": [
        HERE.parent / "common" / "crypto" / "test_crypto_charter.py",
        HERE / "test_charters.py",
        HERE / "test_standby.py",
    ],
    "class": [
        HERE.parent / "gateway" / "test_lifecycle.py",
        HERE.parent / "gateway_s3" / "test_asked_classes.py",
        HERE.parent / "gateway_s3" / "test_transitions.py",
        HERE / "test_named_classes.py",
        HERE / "test_reclassing.py",
    ],
    "epochs": [
        HERE.parent / "common" / "crypto" / "test_crypto_orders.py",
        HERE.parent / "cell" / "test_order_epoch.py",
        HERE / "test_order_epochs.py",
    ],
    "fence": [HERE / "test_fences.py"],
    "journal": [
        HERE / "test_lease.py",
        *(HERE / f"test_journal{part}.py" for part in ("", "_settling", "_beginning")),
        HERE.parent / "cell" / "test_cell_journal.py",
    ],
    "keys": [
        HERE.parent / "common" / "format" / "test_envelope.py",
        HERE.parent / "common" / "format" / "test_key_ring.py",
        HERE.parent / "gateway_s3" / "test_customer_keys.py",
        HERE.parent / "gateway_s3" / "test_named_keys.py",
        HERE / "test_key_rings.py",
    ],
    "lists": [
        HERE.parent / "gateway" / "test_authorization_lists.py",
        *(HERE.parent / "gateway_s3" / f"test_acl_{name}.py" for name in ("of_others", "limits")),
        *(HERE.parent / "gateway_s3" / f"test_acl_{name}.py" for name in ("handlers", "obeyed")),
    ],
    "logging": [HERE.parent / "gateway_s3" / "test_access_logs.py"],
    "notification": [
        HERE.parent / "gateway" / "test_webhooks.py",
        HERE.parent / "gateway_s3" / "test_notifying.py",
        HERE.parent / "gateway_s3" / "test_notifications_handlers.py",
        HERE.parent / "gateway_s3" / "test_rename_handlers.py",
    ],
    "postgres": [
        HERE / "test_shared_store.py",
        HERE.parent / "common" / "system" / "test_postgres.py",
    ],
    "rescue": [
        HERE.parent / "common" / "format" / "test_journal_records.py",
        HERE / "test_restoring_store.py",
        HERE.parent / "rescue",
    ],
    "standby": [
        HERE / "test_standby_policy.py",
        HERE / "test_standby.py",
        *(HERE / f"test_journal{part}.py" for part in ("", "_settling", "_beginning")),
        HERE.parent / "cell" / "test_cell_journal.py",
    ],
    "upgrade": [
        HERE / "test_steps.py",
        HERE / "test_expanded_store.py",
        HERE / "test_shared_store.py",
    ],
    "users": [
        HERE.parent / "gateway" / "test_rosters.py",
        HERE.parent / "gateway_s3" / "test_user_keys.py",
        HERE.parent / "gateway_s3" / "test_sts.py",
        HERE.parent / "gateway_s3" / "test_session_tokens.py",
        HERE.parent / "cli" / "test_cli_users.py",
        HERE / "test_coordinator_tenants.py",
    ],
}
"""The tests that find the seeded bugs of each subject."""
LISTINGS = {subject: HERE / f"{subject}_mutants.toml" for subject in TESTS}


def load(listing):
    """The seeded bugs of a listing by name."""
    with listing.open("rb") as file:
        entries = tomllib.load(file)["mutant"]
    return {
        each["name"]: Mutant(
            each["name"],
            (Change(each["module"], each["old"], each["new"]),),
            scenario="",
            seed=0,
            minutes=0.0,
        )
        for each in entries
    }


def tests_that_find(listing):
    """The test that finds each seeded bug of a listing, where the listing names it."""
    with listing.open("rb") as file:
        entries = tomllib.load(file)["mutant"]
    return {each["name"]: each["found_by"] for each in entries if "found_by" in each}


MUTANTS = {subject: load(listing) for subject, listing in LISTINGS.items()}
FOUND_BY = {subject: tests_that_find(listing) for subject, listing in LISTINGS.items()}
OF_REPAIR = ("moves", "audit")
"""Subjects whose seeded bugs all name the test that finds them."""


def compile_all(mutants):
    """Apply each seeded bug to the source of the product, and run nothing of it."""
    for mutant in mutants.values():
        for module in mutant.modules:
            compile(mutant.source(module), mutant.name, "exec")


def run_tests(name, tests):
    """Run tests in a process with a seeded bug, up to the first that fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "seeded_bug", *tests],
        cwd=HERE.parent.parent,
        env={**os.environ, "SEEDED_BUG": name, "PYTHONPATH": f"{HERE}:."},
        capture_output=True,
        text=True,
        check=False,
    )


if "SEEDED_BUG" in os.environ:
    install(
        next(
            mutants[os.environ["SEEDED_BUG"]]
            for mutants in MUTANTS.values()
            if os.environ["SEEDED_BUG"] in mutants
        )
    )
