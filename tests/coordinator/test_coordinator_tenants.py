"""Tenants see their own and nothing else; buckets belong to one of them."""

import base64
from dataclasses import replace

import pytest
from coordinator_rig import BUCKET, NATIVE, Gateway, page, running

from common import limits
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.errors import NotFound, OutcomeUnknown, Refused, Unavailable
from common.ids import BucketId, TenantId, VersionId
from common.wire import messages as m
from common.wire.control import tenant_message


async def test_a_connection_acts_only_for_tenants_it_opened(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        for request in (
            m.BucketGet(other.tenant_id, BUCKET),
            m.BucketsList(other.tenant_id, "", "", 10),
            m.BucketSettingsSet(other.tenant_id, BUCKET, BucketId(bytes(16)), 1, b""),
            m.ObjectGet(other.tenant_id, BUCKET, b"name", None, False, 0, 0),
            m.WriteStart(other.tenant_id, 1, 1, 1),
            m.ShardsReport(other.tenant_id, ()),
        ):
            with pytest.raises(Refused, match="tenant_not_open"):
                await gateway.call(request)


async def test_a_tenant_opens_with_its_proof_only(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = TenantKey(gateway.tenant_id, bytes(32))
        for key, tenant_id in (
            (other, gateway.tenant_id),
            (gateway.key, TenantId(bytes(16))),
            (other, TenantId(bytes(16))),
        ):
            with pytest.raises(Refused, match="bad_proof"):
                await gateway.prove(key, tenant_id=tenant_id)
        with pytest.raises(Refused, match="bad_proof"):
            await gateway.call(m.TenantOpen(gateway.tenant_id, bytes(64)))
        await gateway.prove(gateway.key)


@pytest.mark.fault("T")
async def test_a_tenants_proof_is_good_on_one_connection_to_one_coordinator(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        connection = await gateway.pool.connection(NATIVE, rig.serving.peer_id)
        key, nonce = connection.channel[:32], connection.channel[32:]
        evil = KeyPair.from_private(bytes(32)).public_key
        for channel in (evil + nonce, key + bytes(32)):
            with pytest.raises(Refused, match="bad_proof"):
                await gateway.prove(gateway.key, channel=channel)
        with pytest.raises(Refused, match="bad_proof"):
            await gateway.prove(gateway.key, caller=rig.serving.peer_id)
        replayed = gateway.key.prove(
            tenant_message(connection.channel, gateway.identity.peer_id, gateway.tenant_id)
        )
        await connection.call(m.TenantOpen(gateway.tenant_id, replayed))
        await connection.close()
        with pytest.raises(Refused, match="bad_proof"):
            await gateway.call(m.TenantOpen(gateway.tenant_id, replayed))


@pytest.mark.fault("T")
async def test_the_store_of_a_coordinator_holds_nothing_to_act_for_a_tenant_with(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        stolen = rig.one("SELECT proof_key FROM tenants")
        assert stolen == gateway.key.proof_key()
        thief = TenantKey(gateway.tenant_id, stolen)
        with pytest.raises(Refused, match="bad_proof"):
            await gateway.prove(thief)


@pytest.mark.fault("H3")
async def test_large_frames_are_received_of_tenants_and_cells_only(autojump_clock):
    async with running() as rig:
        stranger = Gateway(rig, "stranger")
        await stranger.connect()
        sealed = bytes(100_000)
        with pytest.raises((Unavailable, OutcomeUnknown), match="connection_lost"):
            await stranger.call(stranger.commit_of(b"name", [], pages=(), sealed=sealed))
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        await gateway.put(b"name", 0, sealed=sealed)
        settled = await rig.cells[0].settle(*[(bytes(16), 0, bytes(32))] * 1000)
        assert len(settled) == 1000


async def test_buckets_of_others_are_not_to_be_touched(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        bucket = await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        segment = await other.segment()
        with pytest.raises(Refused, match="bucket_exists"):
            await other.make_bucket()
        for asked in (
            m.BucketGet(other.tenant_id, BUCKET),
            m.BucketDelete(other.tenant_id, BUCKET),
            m.ObjectGet(other.tenant_id, BUCKET, b"name", request.version_id, True, 0, 1),
            m.ObjectsList(other.tenant_id, BUCKET, b"", b"", b"", 10),
            m.ObjectsDelete(other.tenant_id, BUCKET, (m.DeleteItem(b"name"),)),
            m.UploadCreate(other.tenant_id, BUCKET, b"name", other.new_id(), b""),
            m.UploadsList(other.tenant_id, BUCKET, b"", b"", b"", b"", 10),
            other.commit_of(b"name", [segment]),
            m.BucketLocksSet(other.tenant_id, BUCKET, bucket.bucket_id, m.DefaultRetention()),
            m.RetentionSet(other.tenant_id, BUCKET, b"name", request.version_id, 0, 0, True),
            m.HoldSet(other.tenant_id, BUCKET, b"name", request.version_id, m.HOLD_OFF),
        ):
            with pytest.raises(Refused, match="not_owner"):
                await other.call(asked)


async def test_segments_are_not_shared_across_tenants(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        await other.make_bucket("other-bucket")
        request, _ = await gateway.put(b"name")
        pages = (page((request.segments[0].segment_id, 0, 100)),)
        with pytest.raises(NotFound, match="no_such_segment"):
            await other.call(other.commit_of(b"stolen", [], bucket="other-bucket", pages=pages))
        with pytest.raises(NotFound, match="no_such_version"):
            await other.get(b"name", version_id=request.version_id, bucket="other-bucket")


async def test_a_version_id_belongs_to_one_name(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        request, _ = await gateway.put(b"name")
        with pytest.raises(Refused, match="version_exists"):
            await gateway.put(b"other", version_id=request.version_id)


async def test_access_keys_are_told_to_gateways_of_their_tenant_only(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await rig.add_key("tenant")
        reply = await gateway.call(m.AccessKeyGet("AKEXAMPLE"))
        assert (reply.tenant_id, reply.sealed) == (gateway.tenant_id, b"sealed")
        for asker, key in ((other, "AKEXAMPLE"), (gateway, "AKUNKNOWN")):
            with pytest.raises(NotFound, match="no_such_access_key"):
                await asker.call(m.AccessKeyGet(key))
        await rig.operate("DELETE", "/v1/tenants/tenant/keys/AKEXAMPLE")
        with pytest.raises(NotFound, match="no_such_access_key"):
            await gateway.call(m.AccessKeyGet("AKEXAMPLE"))


async def test_a_roster_grows_by_compare_and_set_and_is_told_to_its_tenant_only(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await rig.add_key("tenant")
        path = "/v1/tenants/tenant/roster"

        async def put(previous, revision, sealed):
            body = {
                "previous": previous,
                "revision": revision,
                "sealed": base64.b64encode(sealed).decode(),
            }
            answer = await rig.http("PUT", path, body)
            return answer.json()["error"] if answer.status_code >= 400 else ""

        assert await rig.operate("GET", path) == {"revision": 0, "sealed": ""}
        assert (await gateway.call(m.AccessKeyGet("AKEXAMPLE"))).roster_revision == 0
        with pytest.raises(NotFound, match="no_such_roster"):
            await gateway.call(m.RosterGet(gateway.tenant_id))
        large = bytes(limits.MAX_SEALED_ROSTER_BYTES)
        assert await put(0, 5, b"first") == ""
        assert await put(0, 5, b"first") == ""  # An answer that was lost.
        assert await put(0, 6, b"another") == "roster_changed"
        assert await put(5, 5, b"another") == "bad_value"
        assert await put(5, 4, b"another") == "bad_value"
        assert await put(5, 1 << 63, b"another") == "bad_value"
        assert await put(5, 9, b"") == "bad_value"
        assert await put(5, 9, large + b"x") == "bad_value"
        assert await put(5, 9, large) == ""
        assert await rig.operate("GET", path) == {
            "revision": 9,
            "sealed": base64.b64encode(large).decode(),
        }
        assert (await gateway.call(m.AccessKeyGet("AKEXAMPLE"))).roster_revision == 9
        assert await gateway.call(m.RosterGet(gateway.tenant_id)) == m.RosterRecord(9, large)
        with pytest.raises(Refused, match="tenant_not_open"):
            await other.call(m.RosterGet(gateway.tenant_id))
        with pytest.raises(NotFound, match="no_such_roster"):
            await other.call(m.RosterGet(other.tenant_id))
        assert (await rig.http("GET", "/v1/tenants/none/roster")).status_code == 404
        await rig.operate("DELETE", "/v1/tenants/tenant")
        assert rig.one("SELECT count(*) FROM rosters") == 0


async def test_buckets_are_made_listed_and_deleted(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        await other.make_bucket("bb")
        for name in ("c", "a", "ba", "b%", "b_"):
            await gateway.make_bucket(name)

        async def names(prefix="", after="", limit=1000):
            reply = await gateway.call(m.BucketsList(gateway.tenant_id, prefix, after, limit))
            return [row.name for row in reply.buckets], reply.truncated

        assert await names() == (["a", "b%", "b_", "ba", "c"], False)
        assert await names(prefix="b") == (["b%", "b_", "ba"], False)
        assert await names(prefix="b_") == (["b_"], False)
        assert await names(after="b%", limit=2) == (["b_", "ba"], True)
        assert await names(limit=0) == ([], False)
        with pytest.raises(Refused, match="bucket_owned"):
            await gateway.make_bucket("a")
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.call(m.BucketDelete(gateway.tenant_id, "nothing"))
        await gateway.put(b"name", bucket="a")
        with pytest.raises(Refused, match="bucket_not_empty"):
            await gateway.call(m.BucketDelete(gateway.tenant_id, "a"))
        await gateway.delete(b"name", bucket="a")
        await gateway.call(m.BucketDelete(gateway.tenant_id, "a"))
        with pytest.raises(NotFound, match="no_such_bucket"):
            await gateway.call(m.BucketGet(gateway.tenant_id, "a"))


async def test_a_bucket_id_is_used_once(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        made = await gateway.make_bucket()
        with pytest.raises(Refused, match="bucket_exists"):
            await gateway.call(
                m.BucketCreate(gateway.tenant_id, BucketId(made.bucket_id), "again", b"")
            )


def settings_of(gateway, made, revision, settings, **fields):
    given = {"bucket": made.name, "bucket_id": made.bucket_id, **fields}
    return m.BucketSettingsSet(
        gateway.tenant_id, expected_revision=revision, settings=settings, **given
    )


async def test_settings_are_set_by_whoever_read_them_last(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        made = await gateway.make_bucket()
        assert made.revision == 1
        first = settings_of(gateway, made, 1, b"first")
        changed = await gateway.call(first)
        assert changed == replace(made, settings=b"first", revision=2)
        with pytest.raises(Refused, match="settings_changed"):
            await gateway.call(settings_of(gateway, made, 1, b"second"))
        with pytest.raises(Refused, match="settings_changed"):
            await gateway.call(settings_of(gateway, made, 3, b"second"))
        assert await gateway.call(first) == changed  # the same request, not known to be done
        await gateway.call(settings_of(gateway, made, 2, b"second"))
        with pytest.raises(Refused, match="settings_changed"):
            await gateway.call(first)
        await rig.restart()
        await gateway.open()
        found = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
        assert found == replace(made, settings=b"second", revision=3)
        listed = await gateway.call(m.BucketsList(gateway.tenant_id, "", "", 10))
        assert [(row.settings, row.revision) for row in listed.buckets] == [(b"second", 3)]


async def test_settings_are_set_in_the_bucket_that_they_were_sealed_for(autojump_clock):
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        made = await gateway.make_bucket()
        for wrong in ({"bucket": "nothing"}, {"bucket_id": BucketId(bytes(16))}):
            with pytest.raises(NotFound, match="no_such_bucket"):
                await gateway.call(settings_of(gateway, made, 1, b"set", **wrong))
        with pytest.raises(Refused, match="not_owner"):
            await other.call(settings_of(other, made, 1, b"set"))
        with pytest.raises(Refused, match="too_large"):
            await gateway.call(settings_of(gateway, made, 1, bytes(256 * 1024 + 1)))
        assert await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET)) == made


async def test_space_is_accounted_to_its_tenant(autojump_clock):
    async with running() as rig:
        for name, sizes in (("one", (10, 20)), ("two", (5,))):
            gateway = await rig.add_gateway(name)
            await gateway.make_bucket(name)
            for size in sizes:
                await gateway.put(b"replaced", size, bucket=name)
                await gateway.put(b"name-%d" % size, size, bucket=name)
        tenants = (await rig.operate("GET", "/v1/tenants"))["tenants"]
        assert [(each["name"], each["objects"], each["logical_bytes"]) for each in tenants] == [
            ("one", 3, 50),
            ("two", 2, 10),
        ]


@pytest.mark.fault("M5")
async def test_a_removed_tenants_key_is_good_for_nothing(autojump_clock):
    async with running(cells=3, redundancy="2/3") as rig:
        gateway = await rig.add_gateway("stolen")
        await rig.add_key("stolen", "AKSTOLEN")
        await gateway.make_bucket("b")
        answer = await rig.http("DELETE", "/v1/tenants/stolen")
        assert (answer.status_code, answer.json()["error"]) == (409, "tenant_not_empty")
        await gateway.call(m.BucketDelete(gateway.tenant_id, "b"))
        await rig.operate("DELETE", "/v1/tenants/stolen")
        with pytest.raises(Refused, match="tenant_not_open"):
            await gateway.make_bucket("c")  # on the connection that had proved its key
        with pytest.raises(NotFound, match="no_such_access_key"):
            await gateway.call(m.AccessKeyGet("AKSTOLEN"))
        with pytest.raises(Refused, match="bad_proof"):
            await gateway.open()
        assert (await rig.http("DELETE", "/v1/tenants/stolen")).status_code == 404
        other = await rig.add_gateway("other")
        await other.make_bucket("c")
        with pytest.raises(Refused, match="not_owner"):
            await gateway.call(m.BucketDelete(gateway.tenant_id, "c"))


async def test_the_owner_of_a_bucket_is_said_among_the_tenants_of_the_connection(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway("tenant")
        other = await rig.add_gateway("other")
        await gateway.make_bucket()
        owner = await gateway.call(m.BucketOwnerGet(BUCKET))
        assert owner.tenant_id == gateway.tenant_id
        for asking, name in ((other, BUCKET), (gateway, "nothing")):
            with pytest.raises(NotFound, match="no_such_bucket"):
                await asking.call(m.BucketOwnerGet(name))


async def test_answers_about_a_bucket_name_the_revision_of_its_settings(autojump_clock):
    async with running() as rig:
        gateway = await rig.add_gateway("tenant")
        made = await gateway.make_bucket()
        await gateway.put(b"name", 5)
        await gateway.call(settings_of(gateway, made, 1, b"set"))
        place = (gateway.tenant_id, BUCKET)
        upload_id = VersionId(b"u" * 16)
        begun = await gateway.call(m.UploadCreate(*place, b"new", upload_id, b"sealed"))
        for answer in (
            (await gateway.put(b"other", 5))[1],
            await gateway.call(m.ObjectGet(*place, b"name", None, True, 0, 4)),
            await gateway.call(m.ObjectsList(*place, b"", b"", b"", 10)),
            await gateway.call(m.ObjectsList(*place, b"", b"", b"", 0)),
            begun,
            await gateway.call(m.UploadGet(*place, b"new", upload_id)),
            await gateway.call(m.PartsList(*place, b"new", upload_id, 0, 10)),
        ):
            assert answer.bucket_revision == 2, answer
