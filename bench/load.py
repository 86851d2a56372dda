"""The load, in a process of its own: reads one job as JSON, runs it, prints what it measured.

One thread per connection. The job ends after ``seconds`` or ``operations``, what comes first.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass

from bench.client import RequestFailed, S3Connection
from bench.signing import UNSIGNED, Signer


@dataclass(frozen=True, slots=True)
class LoadJob:
    """``kind``: put, get or delete. ``prefix``: /bucket/name-prefix; object i of connection c is
    prefix-c-i. ``distinct``: names per connection, used in turn. ``operations``: per connection.
    ``goes_on``: after refusals too, and with another connection where one was closed.
    ``shares_names``: all connections use those of the first.
    """

    host: str
    port: int
    region: str
    access_key: str
    secret_key: str
    kind: str
    prefix: str
    size: int
    connections: int
    operations: int
    distinct: int
    seconds: float
    signed: bool = False
    goes_on: bool = False
    shares_names: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds. ``latencies_s`` sorted, of all operations. ``least``: operations of the slowest
    connection. ``refused``: operations that failed."""

    operations: int
    least: int
    elapsed_s: float
    cpu_s: float
    latencies_s: list[float]
    refused: int = 0


def _connection(job: LoadJob) -> S3Connection:
    signer = Signer(f"{job.host}:{job.port}", job.region, job.access_key, job.secret_key)
    return S3Connection((job.host, job.port), signer)


def content(size: int) -> memoryview:
    """The same incompressible bytes in every process."""
    return memoryview(random.Random(size).randbytes(size))


def _operate(
    job: LoadJob, connection: S3Connection, path: str, body: memoryview, digest: str
) -> None:
    if job.kind == "put":
        connection.put(path, body, digest)
    elif job.kind == "get":
        if connection.get(path) != job.size:
            raise AssertionError(f"{path} has another size")
    else:
        connection.delete(path)


def run(job: LoadJob) -> Result:
    """Run a job and measure it; the connections are open and the content made before it starts."""
    body = content(job.size) if job.kind == "put" else memoryview(b"")
    digest = hashlib.sha256(body).hexdigest() if job.signed else UNSIGNED
    connections = [_connection(job) for _ in range(job.connections)]
    latencies: list[list[float]] = [[] for _ in connections]
    failures: list[BaseException] = []
    refused = [0] * job.connections
    barrier = threading.Barrier(job.connections + 1)

    def work(number: int) -> None:
        connection = connections[number]
        times = latencies[number]
        barrier.wait()
        deadline = time.perf_counter() + job.seconds
        try:
            for operation in range(job.operations):
                names = 0 if job.shares_names else number
                path = f"{job.prefix}-{names}-{operation % job.distinct}"
                begin = time.perf_counter()
                if begin >= deadline:
                    break
                try:
                    _operate(job, connection, path, body, digest)
                except (RequestFailed, OSError) as error:
                    if not job.goes_on:
                        raise
                    refused[number] += 1
                    if not isinstance(error, RequestFailed) or "closed" in str(error):
                        connection.close()
                        connection = connections[number] = _connection(job)
                    continue
                times.append(time.perf_counter() - begin)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(job.connections)]
    for thread in threads:
        thread.start()
    barrier.wait()
    begin, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu
    for connection in connections:
        connection.close()
    if failures:
        raise failures[0]
    every = sorted(each for times in latencies for each in times)
    return Result(
        len(every), min(len(times) for times in latencies), elapsed, cpu, every, sum(refused)
    )


if __name__ == "__main__":
    print(json.dumps(asdict(run(LoadJob(**json.loads(sys.stdin.read()))))))
