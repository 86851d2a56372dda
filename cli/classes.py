"""``alveary class`` and ``alveary bucket``: storage classes, the names that lead to them, and the
class and quota of a bucket.

Source: docs/operations.md, "Storage classes", "Quotas".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cli.operators import access_options, ask
from cli.report import human_bytes, print_result, table
from common import limits
from common.config import size
from common.errors import BadConfig
from common.words import counted
from gateway.class_names import CLASS_NAMES


def describe_class(each: dict[str, Any]) -> str:
    """Return what a storage class is, for people."""
    where = f"on {', '.join(each['sites'])}" if each["sites"] else "on all sites"
    return f"{each['name']}: {each['redundancy']} {where}"


@click.group("class")
def storage_class() -> None:
    """Make, list, name and remove storage classes."""


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
            ", ".join(each["names"]) or "-",
        ]
        for each in found
    ]
    text = table(["CLASS", "REDUNDANCY", "QUORUM", "SITES", "BUCKETS", "NAMES"], rows)
    print_result(found, as_json=as_json, text=text)


@storage_class.command("remove")
@click.argument("name")
@access_options
def remove_class(name: str, operator: Path | None, data: Path | None, as_json: bool) -> None:
    """Remove the storage class NAME, which no bucket may have any more, and no name lead to.

    What still lies in it follows into the classes of its buckets.
    """
    ask(operator, data, "DELETE", f"/v1/classes/{quote(name, safe='')}")
    print_result({"removed": name}, as_json=as_json, text=f"removed: storage class {name}")


@storage_class.command("name")
@click.argument("name", type=click.Choice(sorted(CLASS_NAMES)))
@click.argument("storage_class", required=False)
@click.option("--none", "is_none", is_flag=True, help="Let it lead to the class of each bucket.")
@access_options
def name_class(
    name: str,
    storage_class: str | None,
    is_none: bool,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Let NAME, which S3 clients give with objects (x-amz-storage-class), lead to a STORAGE_CLASS.

    New objects and copies of this name take it from now on, in buckets whose sites admit it. What
    is there stays where it is. A name that leads nowhere means the class of the bucket.
    """
    if is_none is (storage_class is not None):
        raise click.UsageError("say a storage class, or else --none")
    path = f"/v1/class-names/{name}"
    if storage_class is None:
        ask(operator, data, "DELETE", path)
        print_result({"removed": name}, as_json=as_json, text=f"{name}: the class of the bucket")
        return
    named = ask(operator, data, "POST", path, {"storage_class": storage_class})
    print_result(named, as_json=as_json, text=f"{name}: class {storage_class}")


@click.group()
def bucket() -> None:
    """List buckets, and give them storage classes and quotas."""


@bucket.command("list")
@access_options
def list_buckets(operator: Path | None, data: Path | None, as_json: bool) -> None:
    """List the buckets of all tenants with their storage classes, what they hold, and quotas."""
    found = ask(operator, data, "GET", "/v1/buckets")["buckets"]
    rows = [
        [
            each["name"],
            each["storage_class"],
            each["objects"],
            human_bytes(each["logical_bytes"]),
            describe_quota(each),
        ]
        for each in found
    ]
    text = table(["BUCKET", "CLASS", "OBJECTS", "SIZE", "QUOTA"], rows)
    print_result(found, as_json=as_json, text=text)


def describe_quota(each: dict[str, Any]) -> str:
    """Return the quota of a bucket, for people."""
    most, most_bytes = each["most_objects"], each["most_bytes"]
    parts = [] if most is None else [counted(most, "object")]
    if most_bytes is not None:
        parts.append(human_bytes(most_bytes))
    return ", ".join(parts) or "none"


def _bytes(_: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        figure: int = size(0, limits.MAX_UINT)(str(option.name), value)
    except BadConfig:
        raise click.BadParameter("a size such as 500GB or 2TiB") from None
    return figure


@bucket.command("quota")
@click.argument("name")
@click.option("--bytes", "most_bytes", callback=_bytes, metavar="SIZE", help="Such as 500GB.")
@click.option("--objects", type=click.IntRange(0), help="Versions of objects.")
@click.option("--none", "is_none", is_flag=True, help="Remove the quota.")
@access_options
def set_quota(
    name: str,
    most_bytes: int | None,
    objects: int | None,
    is_none: bool,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Give the bucket NAME a quota, in place of the one it has.

    Every version counts, noncurrent ones too; delete markers and parts of uploads do not. Writes
    that would exceed it are refused (S3 clients get 403 QuotaExceeded); what is there stays.
    """
    if is_none is (most_bytes is not None or objects is not None):
        raise click.UsageError("say --bytes, --objects or both, or else --none")
    given = {"bytes": most_bytes, "objects": objects}
    body = {key: figure for key, figure in given.items() if figure is not None}
    answer = ask(operator, data, "POST", f"/v1/buckets/{quote(name, safe='')}/quota", body)
    text = (
        f"bucket {name}: quota {describe_quota(answer)}; it holds"
        f" {counted(answer['objects'], 'object')}, {human_bytes(answer['logical_bytes'])}"
    )
    print_result(answer, as_json=as_json, text=text)


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
