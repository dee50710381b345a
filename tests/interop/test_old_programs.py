# SPDX-License-Identifier: Apache-2.0
"""Kafka 0.8.2's own programs against kafuka: both of its producers, its low-level and its ZooKeeper consumer. They know message format 0
only, and run on Java 17 as they are."""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from cluster import BUILD, Cluster, kcat, wait_until  # noqa: E402

CODECS = ["none", "gzip", "snappy", "lz4"]
LINES = [f"line {i} {'y' * (i % 80)}" for i in range(300)]
TEXT = "".join(f"{line}\n" for line in LINES)


@pytest.fixture(scope="module")
def jars():
    folder = BUILD / "interop-jars-0.8.2"
    if not (folder / ".complete").exists():
        pom = pathlib.Path(__file__).parent / "kafka-0.8.2" / "pom.xml"
        subprocess.run(["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={folder}"], check=True, timeout=300)
        (folder / ".complete").touch()
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("old-programs"))
    try:
        yield c.start()
    finally:
        c.stop()


@pytest.fixture
def java(jars):
    def run(program, *args, stdin=None):
        r = subprocess.run(["java", "-Xmx256m", "-cp", f"{jars}/*", f"kafka.tools.{program}", *map(str, args)], input=stdin,
                           capture_output=True, text=True, timeout=90)
        return r.stdout.splitlines()

    return run


def read_low_level(java, cluster, topic, offset=-2):
    return [line for line in java("SimpleConsumerShell", "--broker-list", cluster.bootstrap, "--topic", topic, "--partition", 0,
                                  "--offset", offset, "--no-wait-at-logend") if line.startswith("line")]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("producer", ["old", "new"])
def test_its_producers_write_what_all_read(cluster, java, producer, codec):
    topic = f"by-{producer}-{codec}"
    cluster.create_topic(topic, factor=2)
    options = ["--new-producer"] if producer == "new" else []
    options += ["--compression-codec", codec] if codec != "none" else []
    java("ConsoleProducer", "--broker-list", cluster.bootstrap, "--topic", topic, *options, stdin=TEXT)
    # it sends with acks=0 and is gone before the broker has read, or a follower has fetched, all of it
    wait_until(lambda: kcat("-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q").stdout.decode().splitlines() == LINES, 30, f"all lines of {topic}")
    assert read_low_level(java, cluster, topic) == LINES


@pytest.mark.parametrize("codec", CODECS)
def test_its_consumers_read_what_a_new_producer_wrote(cluster, java, codec):
    topic = f"for-{codec}"
    cluster.create_topic(topic, factor=2)
    kcat("-b", cluster.bootstrap, "-P", "-t", topic, "-z", codec, "-H", "lost=x", stdin=TEXT.encode())
    assert read_low_level(java, cluster, topic) == LINES
    # it does not leave out what a compressed set holds before the offset
    assert read_low_level(java, cluster, topic, offset=123) == (LINES[123:] if codec == "none" else LINES)
    assert java("ConsoleConsumer", "--zookeeper", cluster.connect, "--topic", topic, "--from-beginning", "--max-messages", 300) == LINES
    shown = java("GetOffsetShell", "--broker-list", cluster.bootstrap, "--topic", topic, "--time", -1, "--offsets", 5)
    assert shown == [f"{topic}:0:300,0"]
