# SPDX-License-Identifier: Apache-2.0
"""A low limit on open files: a soft one is raised, a hard one limits connections; neither takes a log dir offline."""
import contextlib
import os
import pathlib
import resource
import socket
import time

import pytest
from cluster import CRASH, answers, free_ports, wait_until
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from raw import Connection

PARTITIONS, CONNECTIONS = 1500, 900


@pytest.fixture
def limited_broker(make_cluster):
    """A maker of a cluster of one broker that was started under `ulimit <option> <limit>`."""

    def make(option, limit=1024, **options):
        c = make_cluster(count=1, options={k.replace("_", "."): v for k, v in options.items()})
        b = c.brokers[0]
        assert b.stop() == 0
        b.argv = ["sh", "-c", f'ulimit {option} {limit} && exec "$@"', "sh", *b.argv]
        b.start()
        c.wait_brokers()
        return c, b

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # of the test itself: it makes the connections
    yield make
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def use_a_topic_of_many_partitions(b):
    """Creates it, writes a record to each partition, reads all of them."""
    admin = AdminClient({"bootstrap.servers": b.address})
    admin.create_topics([NewTopic("wide", PARTITIONS, 1)], operation_timeout=120, request_timeout=120)["wide"].result(120)
    producer = Producer({"bootstrap.servers": b.address, "linger.ms": 20, "message.timeout.ms": 120000})
    failed = []
    for p in range(PARTITIONS):
        producer.produce("wide", str(p), partition=p, on_delivery=lambda e, m: e and failed.append((m.partition(), str(e))))
    assert producer.flush(120) == 0 and not failed, failed[:5]
    consumer = Consumer({"bootstrap.servers": b.address, "group.id": "g", "enable.auto.commit": False})
    consumer.assign([TopicPartition("wide", p, 0) for p in range(PARTITIONS)])
    seen = set()

    def all_seen():
        seen.update(int(m.value()) for m in consumer.consume(PARTITIONS, 0.5) if not m.error())
        return len(seen) == PARTITIONS

    wait_until(all_seen, 120, "a record of each partition")
    consumer.close()


def assert_nothing_failed(b):
    text = b.log_text()
    assert b.alive() and not CRASH.search(text)
    assert "offline" not in text, [line for line in text.splitlines() if "offline" in line][:5]


def test_a_soft_limit_of_1024_is_raised(limited_broker):
    c, b = limited_broker("-Sn")
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(Connection(b))
        wait_until(lambda: len(list_sockets(b)) >= CONNECTIONS, 30, "the broker to have accepted all")
        use_a_topic_of_many_partitions(b)
        assert "connection refused" not in b.log_text()
    assert_nothing_failed(b)


def list_sockets(b):
    """The sockets that the process has open, as /proc names them."""
    found = []
    for fd in os.listdir(f"/proc/{b.pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{b.pid}/fd/{fd}")
            if target.startswith("socket:"):
                found.append(target)
    return found


def is_open(s):
    s.setblocking(False)
    try:
        return s.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_hard_limit_of_1024_refuses_connections_and_spares_the_disk(limited_broker):
    c, b = limited_broker("-n")
    use_a_topic_of_many_partitions(b)
    sockets = [socket.create_connection(("127.0.0.1", b.port), timeout=30) for _ in range(CONNECTIONS)]
    try:
        text = "connection refused: it would take the file descriptors that log files need"
        wait_until(lambda: text in b.log_text(), 30, "a line that says why connections are refused")
        wait_until(lambda: 300 < sum(map(is_open, sockets)) < CONNECTIONS, 30, "some connections to be served, the others refused")
    finally:
        for s in sockets:
            s.close()
    wait_until(lambda: answers(b.port) and len(list_sockets(b)) < 100, 30, "the broker to have closed them")
    c.wait_brokers()
    assert b.stop(120) == 0
    b.start()
    assert c.tool("get-offsets", "--bootstrap-server", b.address, "--topic", "wide").stdout.count(":1\n") == PARTITIONS
    assert_nothing_failed(b)


def cpu_seconds(b):
    fields = pathlib.Path(f"/proc/{b.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_any_descriptor_left_nobody_spins_and_writes_go_on(limited_broker):
    """The page of metrics is not counted: who connects there often enough takes all of them."""
    limit = 320
    (port,) = free_ports(1)
    c, b = limited_broker("-n", limit, http_listener=f"127.0.0.1:{port}", log_segment_bytes=14000)
    c.create_topic("t", partitions=4)
    producer = Producer({"bootstrap.servers": b.address, "message.timeout.ms": 60000})
    producer.produce("t", b"first")
    assert producer.flush(60) == 0
    sockets = []
    try:
        for _ in range(limit):
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        wait_until(lambda: "http cannot accept a connection, trying again soon" in b.log_text(), 30, "the descriptors to be used up")
        failed = []
        cpu, began = cpu_seconds(b), time.monotonic()
        for i in range(200):  # each second one begins a segment
            producer.produce("t", b"x" * 8000, partition=i % 4, on_delivery=lambda e, m: e and failed.append(str(e)))
            assert producer.flush(60) == 0 and not failed and b.alive(), failed[:3]
        wait_until(lambda: time.monotonic() - began > 3, 30, "a while to measure")
        # a thread that tries again without a pause takes a core
        assert cpu_seconds(b) - cpu < 0.7 * (time.monotonic() - began), "a thread spins"
    finally:
        for s in sockets:
            s.close()
    wait_until(lambda: b"200 OK" in page(port), 60, "the page of metrics to answer again")
    assert_nothing_failed(b)


def page(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"GET /live HTTP/1.0\r\n\r\n")
        return s.recv(100)
