"""Listings against a model: a sorted dictionary, cut and rolled up by the words of the protocol."""

from coordinator_rig import running
from hypothesis import given, settings
from hypothesis import strategies as st

from common.client.policy.answers import check_answer, rolled_up
from common.limits import MAX_LIST_REPLY_BYTES
from common.wire import messages as m
from coordinator.store import listing
from coordinator.store.listing import successor
from coordinator.store.schema import migrate
from sim.stores import connect_in_memory

TENANT = bytes(16)
names = st.lists(
    st.sampled_from([b"a", b"b", b"/", b"//", b"\xff", b"\x00", b"-"]), max_size=5
).map(b"".join)
keys = names.filter(bool)
delimiters = st.sampled_from([b"", b"/", b"//", b"a", b"\xff", b"-/"])


def store_of(objects=(), uploads=()):
    sql = connect_in_memory()
    migrate(sql)
    sql.execute(
        "INSERT INTO tenants (tenant, tenant_id, name, proof_key, created_ms)"
        " VALUES (1, ?, 't', x'', 0)",
        (TENANT,),
    )
    for bucket in (1, 2):
        sql.execute(
            "INSERT INTO buckets (bucket, bucket_id, name, tenant, created_ms, settings)"
            " VALUES (?, ?, ?, 1, 0, x'')",
            (bucket, bytes([bucket]) * 16, f"bucket-{bucket}"),
        )
    sequence = 0
    for bucket, held in ((1, objects), (2, [b"a/other", b"z"])):
        for name in held:
            sequence += 1
            sql.execute(
                "INSERT INTO versions"
                " (sequence, bucket, name, version_id, size, created_ms, summary, sealed, tags,"
                " acl, class_name) VALUES (?, ?, ?, ?, 5, 0, x'', x'', x'', x'', x'')",
                (sequence, bucket, name, sequence.to_bytes(16, "big")),
            )
            sql.execute("INSERT INTO current VALUES (?, ?, ?)", (bucket, name, sequence))
    for number, (name, upload_id) in enumerate(uploads):
        sql.execute(
            "INSERT INTO uploads (upload, bucket, name, upload_id, created_ms, sealed, class_name)"
            " VALUES (?, 1, ?, ?, 0, x'', x'')",
            (number + 1, name, upload_id),
        )
    return sql


def list_objects(sql, tenant, request):
    """A page, which must be an answer to its request."""
    reply = listing.list_objects(sql, tenant, request)
    check_answer(request, reply)
    return reply


def list_uploads(sql, tenant, request):
    reply = listing.list_uploads(sql, tenant, request)
    check_answer(request, reply)
    return reply


def model(held, prefix, delimiter, after):
    """What is to be listed after a name or prefix, in order: names, and prefixes marked True."""
    entries = []
    for name in sorted(held):
        if not name.startswith(prefix) or name <= after:
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = (name, False) if at < 0 else (name[: at + len(delimiter)], True)
        if entry not in entries:
            entries.append(entry)
    is_rolled_up = after.startswith(prefix) and rolled_up(after, prefix, delimiter) == after
    return [entry for entry in entries if not (is_rolled_up and entry == (after, True))]


def merged(objects, prefixes):
    return sorted([(row.name, False) for row in objects] + [(prefix, True) for prefix in prefixes])


@settings(deadline=None, max_examples=300)
@given(st.sets(keys, max_size=25), names, delimiters, names, st.integers(0, 8))
def test_a_page_of_objects_is_the_models(held, prefix, delimiter, after, limit):
    sql = store_of(held)
    reply = list_objects(sql, 1, m.ObjectsList(TENANT, "bucket-1", prefix, delimiter, after, limit))
    wanted = model(held, prefix, delimiter, after)
    assert merged(reply.objects, reply.prefixes) == wanted[:limit]
    assert reply.truncated == (limit > 0 and len(wanted) > limit)
    if wanted[:limit]:
        assert reply.last == wanted[:limit][-1][0]
    m.Listing.unpack(reply.pack())


@settings(deadline=None, max_examples=200)
@given(st.sets(keys, max_size=30), names, delimiters, st.integers(1, 5))
def test_pages_of_objects_join_to_the_whole_without_gap_or_repeat(held, prefix, delimiter, limit):
    sql = store_of(held)
    seen, after = [], b""
    for _ in range(100):
        reply = list_objects(
            sql, 1, m.ObjectsList(TENANT, "bucket-1", prefix, delimiter, after, limit)
        )
        seen += merged(reply.objects, reply.prefixes)
        after = reply.last
        if not reply.truncated:
            break
    assert seen == model(held, prefix, delimiter, b"")


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(keys, st.integers(1, 4), max_size=12), names, delimiters, st.integers(1, 5))
def test_pages_of_uploads_join_to_the_whole_without_gap_or_repeat(held, prefix, delimiter, limit):
    uploads = [
        (name, bytes([index]) + bytes([copy]) * 15)
        for index, (name, copies) in enumerate(sorted(held.items()))
        for copy in range(copies)
    ]
    sql = store_of(uploads=uploads)
    seen, prefixes, after, after_upload = [], [], b"", b""
    for _ in range(200):
        reply = list_uploads(
            sql,
            1,
            m.UploadsList(TENANT, "bucket-1", prefix, delimiter, after, after_upload, limit),
        )
        assert len(reply.uploads) + len(reply.prefixes) <= limit
        seen += [(row.name, row.upload_id) for row in reply.uploads]
        prefixes += reply.prefixes
        after, after_upload = reply.last, reply.last_upload
        if not reply.truncated:
            break
    wanted = model(held, prefix, delimiter, b"")
    assert prefixes == [name for name, is_prefix in wanted if is_prefix]
    plain = {name for name, is_prefix in wanted if not is_prefix}
    assert seen == [each for each in uploads if each[0] in plain]


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_a_successor_is_beyond_all_that_starts_so(prefix, rest):
    beyond = successor(prefix)
    if beyond is None:
        assert not prefix.strip(b"\xff")
    else:
        assert prefix + rest < beyond
        assert not beyond.startswith(prefix) or not prefix


def test_a_listing_with_long_names_is_cut_at_the_reply_limit():
    held = [b"%04d" % number + b"x" * 1000 for number in range(1000)]
    sql = store_of(held)
    reply = list_objects(sql, 1, m.ObjectsList(TENANT, "bucket-1", b"", b"", b"", 1000))
    assert reply.truncated
    assert 0.9 * MAX_LIST_REPLY_BYTES < len(reply.pack()) <= MAX_LIST_REPLY_BYTES
    rest = list_objects(sql, 1, m.ObjectsList(TENANT, "bucket-1", b"", b"", reply.last, 1000))
    assert [row.name for row in (*reply.objects, *rest.objects)] == held


def test_a_rolled_up_prefix_costs_the_same_however_much_it_holds():
    sql = store_of([b"%02d/%05d" % (i, j) for i in range(20) for j in range(500)])
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    sql.set_progress_handler(count, 100)
    reply = list_objects(sql, 1, m.ObjectsList(TENANT, "bucket-1", b"", b"/", b"", 1000))
    assert len(reply.prefixes) == 20
    assert steps < 100  # 10,000 names would take more than 1,000


async def test_a_limit_beyond_the_products_is_cut(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        for number in range(1010):
            await gateway.put(b"%04d" % number, 0)
        reply = await gateway.names(limit=1 << 60)
        assert len(reply.objects) == 1000
        assert reply.truncated
        assert reply.last == b"0999"
