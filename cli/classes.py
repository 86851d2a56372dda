"""``alveary class`` and ``alveary bucket``: storage classes, and which of them a bucket has.

Source: docs/operations.md, "Storage classes".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cli.operators import access_options, ask
from cli.report import print_result, table


def describe_class(each: dict[str, Any]) -> str:
    """Return what a storage class is, for people."""
    where = f"on {', '.join(each['sites'])}" if each["sites"] else "on all sites"
    return f"{each['name']}: {each['redundancy']} {where}"


@click.group("class")
def storage_class() -> None:
    """Make, list and remove storage classes."""


@storage_class.command("create")
@click.argument("name")
@click.option("--redundancy", required=True, metavar="K/N", help="Any K of N shards are enough.")
@click.option(
    "--write-quorum", type=click.IntRange(1, 64), help="Durable shards that a write waits for."
)
@click.option(
    "--site", "sites", multiple=True, help="A site that may hold the data; several: give it again."
)
@access_options
def create_class(
    name: str,
    redundancy: str,
    write_quorum: int | None,
    sites: tuple[str, ...],
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make the storage class NAME (capital letters, digits, underscores).

    With --site, only cells on these sites hold its data. A class is never changed afterwards.
    """
    body: dict[str, object] = {"name": name, "redundancy": redundancy, "sites": list(sites)}
    if write_quorum is not None:
        body["write_quorum"] = write_quorum
    made = ask(operator, data, "POST", "/v1/classes", body)
    print_result(made, as_json=as_json, text=f"made: {describe_class(made)}")


@storage_class.command("list")
@access_options
def list_classes(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the storage classes."""
    found = ask(operator, data, "GET", "/v1/classes")["classes"]
    rows = [
        [
            each["name"],
            each["redundancy"],
            each["write_quorum"],
            ", ".join(each["sites"]) or "all",
            each["buckets"],
        ]
        for each in found
    ]
    text = table(["CLASS", "REDUNDANCY", "QUORUM", "SITES", "BUCKETS"], rows)
    print_result(found, as_json=as_json, text=text)


@storage_class.command("remove")
@click.argument("name")
@access_options
def remove_class(name: str, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Remove the storage class NAME, which no bucket may have any more.

    What still lies in it stays where it is, on its sites.
    """
    ask(operator, data, "DELETE", f"/v1/classes/{quote(name, safe='')}")
    print_result({"removed": name}, as_json=as_json, text=f"removed: storage class {name}")


@click.group()
def bucket() -> None:
    """List buckets, and give them storage classes."""


@bucket.command("list")
@access_options
def list_buckets(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the buckets of all tenants with their storage classes."""
    found = ask(operator, data, "GET", "/v1/buckets")["buckets"]
    rows = [[each["name"], each["storage_class"]] for each in found]
    print_result(found, as_json=as_json, text=table(["BUCKET", "CLASS"], rows))


@bucket.command("class")
@click.argument("name")
@click.argument("storage_class")
@access_options
def set_class(
    name: str, storage_class: str, operator: Path | None, data: Path | None, as_json: bool
) -> None:
    """Give the bucket NAME a storage class.

    New objects take it from now on, and gateways write the others again in it; `alveary status`
    says how far they are. STANDARD is the class that the coordinator is configured with.
    """
    answer = ask(
        operator,
        data,
        "POST",
        f"/v1/buckets/{quote(name, safe='')}/class",
        {"storage_class": storage_class},
    )
    text = f"bucket {name}: new objects take class {storage_class}, and the others follow"
    print_result(answer, as_json=as_json, text=text)
