# SPDX-License-Identifier: Apache-2.0
"""Names whose lookup hangs: a broker with one io thread answers everybody else in time."""
import os
import pathlib
import subprocess
import time

import pytest
from cluster import SANITIZER_ENV, wait_until
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

IN_TIME = 20  # seconds, for each question; a lookup takes 60


@pytest.fixture(scope="module")
def slow_names(tmp_path_factory):
    """The environment in which names that end in .slow.test hang."""
    library = tmp_path_factory.mktemp("slow") / "slow_names.so"
    source = pathlib.Path(__file__).with_name("slow_names.c")
    subprocess.run([os.environ.get("CC", "cc").split()[0], "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}


def in_time(what, ask):
    began = time.monotonic()
    answer = ask()
    took = time.monotonic() - began
    assert took < IN_TIME, f"{what} took {took:.1f} s"
    return answer


def ask_everything(c, b):
    """Requests of each kind, on loops and on io threads."""
    admin = AdminClient({"bootstrap.servers": b.address, "log_level": 0})
    cluster = in_time("Metadata", lambda: admin.list_topics(timeout=IN_TIME))
    assert b.id in cluster.brokers
    topic = f"t{time.monotonic_ns()}"
    in_time("CreateTopics", lambda: c.tool("topics", "--bootstrap-server", b.address, "--create", "--topic", topic,
                                           "--replica-assignment", b.id))
    producer = Producer({"bootstrap.servers": b.address, "message.timeout.ms": IN_TIME * 1000})
    failed = []
    producer.produce(topic, b"v", partition=0, on_delivery=lambda e, m: e and failed.append(str(e)))
    assert in_time("Produce", lambda: producer.flush(IN_TIME)) == 0 and not failed, failed
    consumer = Consumer({"bootstrap.servers": b.address, "group.id": "g", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = in_time("Fetch", lambda: consumer.poll(IN_TIME))
    assert message is not None and message.error() is None and message.value() == b"v"
    consumer.close()
    in_time("DescribeLogDirs", lambda: c.tool("log-dirs", "--bootstrap-server", b.address, "--describe", "--broker-list", b.id))
    in_time("DescribeConfigs", lambda: c.tool("configs", "--bootstrap-server", b.address, "--describe", "--topic", topic))


def test_a_peer_whose_name_hangs_delays_nobody(make_cluster, slow_names):
    c = make_cluster(count=2, env=slow_names, options={"num.io.threads": 1})
    first, second = c.brokers
    c.create_topic("shared", partitions=4, factor=2)
    assert second.stop() == 0
    second.write_properties(advertised_listeners=f"PLAINTEXT://b1.slow.test:{second.port}")
    second.start()
    wait_until(lambda: "slow_names: b1.slow.test" in first.log_text(), 30, "the controller to look the name up")
    wait_until(lambda: "slow_names: b1.slow.test" in second.log_text(), 30, "the broker to look its own name up")
    ask_everything(c, first)
    # nobody can tell the second one anything: it says so in time
    said = in_time("the doctor", lambda: c.tool("doctor", "--bootstrap-server", second.address, check=False).stdout)
    assert "knows no live broker" in said and "no answer in time" not in said, said
    began = time.monotonic()
    assert first.stop() == 0 and second.stop() == 0
    assert time.monotonic() - began < 2 * IN_TIME, "a stop waited for a lookup"
