"""A real receiver is told of events by real processes, also of those from before the gateway was
killed; boto3 sets the rules."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_swarm import Swarm, wait_until

KEY = bytes(range(32))


class Receiver(ThreadingHTTPServer):
    """Takes events while ``is_there``. ``records``: of what it took."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_there = True
        self.records: list[dict[str, Any]] = []
        self.tests = 0

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(each["eventName"], each["s3"]["object"]["key"]) for each in self.records]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        mac = base64.b64encode(hmac.digest(KEY, signed + body, "sha256")).decode()
        status = 503
        if self.headers["webhook-signature"] != f"v1,{mac}":
            status = 400
        elif server.is_there:
            status = 204
            document = json.loads(body)
            server.tests += "Event" in document
            server.records += document.get("Records", [])
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def swarm(make_swarm: Callable[..., Swarm], receiver: Receiver) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="2/3")
    hooks = made.root / "gateway" / "webhooks"
    hooks.mkdir(parents=True)
    (hooks / "hook.toml").write_text(
        f'url = "http://127.0.0.1:{receiver.server_port}/events"\n'
        f'secret = "whsec_{base64.b64encode(KEY).decode()}"\n'
    )
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(240)
def test_events_reach_their_receiver_though_it_and_the_gateway_were_gone(
    swarm: Swarm, receiver: Receiver
) -> None:
    with closing(swarm.boto3(retries=5)) as client:
        client.create_bucket(Bucket="events")
        rule = {
            "Id": "rule",
            "QueueArn": "arn:aws:sqs:::hook",
            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
        }
        wrong = {**rule, "QueueArn": "arn:aws:sqs:::http%3A%2F%2F169.254.169.254"}
        with pytest.raises(ClientError, match="InvalidArgument"):
            client.put_bucket_notification_configuration(
                Bucket="events", NotificationConfiguration={"QueueConfigurations": [wrong]}
            )
        client.put_bucket_notification_configuration(
            Bucket="events", NotificationConfiguration={"QueueConfigurations": [rule]}
        )
        assert receiver.tests == 1
        shown = client.get_bucket_notification_configuration(Bucket="events")
        assert shown["QueueConfigurations"][0]["QueueArn"] == "arn:aws:sqs:::hook"
        client.put_object(Bucket="events", Key="in/one", Body=b"1")
        client.put_object(Bucket="events", Key="out", Body=b"1")
        wait_until(lambda: bool(receiver.records), 30, "the first event")
        receiver.is_there = False
        client.put_object(Bucket="events", Key="in/two", Body=b"2")
        client.delete_object(Bucket="events", Key="in/two")
        assert swarm.status()["notifications"]["waiting"] == 2
        assert "2 notifications waiting" in swarm.alveary("status", f"--data={swarm.root}").stdout
        swarm.kill("gateway")
        receiver.is_there = True
        swarm.stop()
        swarm.start()
        wait_until(lambda: len(receiver.records) >= 3, 120, "the events from before")
        client.copy_object(Bucket="events", Key="in/three", CopySource="events/out")
        wait_until(lambda: len(receiver.records) >= 4, 60, "an event after that")
        wait_until(
            lambda: not swarm.status()["notifications"]["waiting"], 30, "nothing left waiting"
        )
    assert receiver.told == [
        ("ObjectCreated:Put", "in/one"),
        ("ObjectCreated:Put", "in/two"),
        ("ObjectRemoved:Delete", "in/two"),
        ("ObjectCreated:Copy", "in/three"),
    ]


@pytest.mark.timeout(200)
def test_what_was_asked_is_logged_when_the_gateway_stops(swarm: Swarm) -> None:
    with closing(swarm.boto3()) as client:
        for bucket in ("logged", "logs"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_logging(
            Bucket="logged",
            BucketLoggingStatus={
                "LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "log/"}
            },
        )
        client.put_object(Bucket="logged", Key="key", Body=b"12345")
        client.get_object(Bucket="logged", Key="key")["Body"].read()
    swarm.stop()
    swarm.start()
    with closing(swarm.boto3()) as client:
        found = client.list_objects_v2(Bucket="logs").get("Contents", [])
        bodies = [client.get_object(Bucket="logs", Key=each["Key"])["Body"] for each in found]
        lines = [line for body in bodies for line in body.read().decode().splitlines()]
    assert [line.split()[7] for line in lines] == ["REST.PUT.OBJECT", "REST.GET.OBJECT"]
