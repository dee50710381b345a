# SPDX-License-Identifier: Apache-2.0
"""Segments that kafuka's cleaner wrote, read and verified by Kafka 3.9's own DumpLogSegments and consumed by its consumer."""
import re

import confluent_kafka
import pytest
from test_kafka_programs import CODECS, Cluster, dump, java, wait_until

OPTIONS = {"log.cleaner.backoff.ms": 100, "log.segment.delete.delay.ms": 100}
KEYS = 60


def produce(cluster, topic, count, codec, transactional_id=None):
    """Keyed values, each tenth a tombstone; the last value of each key."""
    p = confluent_kafka.Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "compression.type": codec,
                                  "batch.num.messages": 25})
    last = {}
    for i in range(count):
        key = f"key-{(i * i) % KEYS}"
        value = None if i % 10 == 3 else f"value-{i}-{'z' * (i % 90)}"
        last[key] = value
        while True:
            try:
                p.produce(topic, value, key=key, headers={"h": str(i)})
                break
            except BufferError:
                p.poll(0.05)
    assert p.flush(60) == 0
    return last


@pytest.mark.parametrize("codec", CODECS)
def test_dump_log_segments_verifies_compacted_segments(tmp_path, codec):
    c = Cluster(tmp_path, count=1, options=OPTIONS)
    try:
        c.start()
        c.create_topic("t", cleanup_policy="compact", segment_bytes=30000, min_cleanable_dirty_ratio=0.1, index_interval_bytes=500,
                       delete_retention_ms=500)
        last = produce(c, "t", 12000, codec)
        folder = c.brokers[0].data / "t-0"
        wait_until(lambda: sum(f.stat().st_size for f in folder.glob("*.log")) < 60000, 60, "the log to shrink")
        last.update(produce(c, "t", 3000, codec))  # a run over what was compacted: tombstones go, segments grow together
        wait_until(lambda: sum(f.stat().st_size for f in folder.glob("*.log")) < 60000, 60, "the log to shrink again")
        r = java("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", c.bootstrap, "--topic", "t", "--from-beginning",
                 "--timeout-ms", 10000, "--property", "print.key=true", "--property", "print.value=true", "--property", "null.literal=NULL")
        got = dict(line.split("\t") for line in r.stdout.splitlines() if "\t" in line)
        assert {k: v for k, v in got.items() if v != "NULL"} == {k: v for k, v in last.items() if v is not None}, r.stderr[-2000:]
    finally:
        c.stop()
    logs = sorted(folder.glob("*.log"))
    # records are gone, and it says so ("Non-consecutive offsets"); it must find nothing else
    out = java("kafka.tools.DumpLogSegments", "--files", ",".join(map(str, logs)), "--deep-iteration", "--print-data-log")
    assert out.returncode == 0, out.stderr[-2000:]
    assert len(logs) > 1 and "isvalid: true" in out.stdout and "deleteHorizonMs: OptionalLong[" in out.stdout
    assert not re.search(r"mismatch|corrupt|Exception|isvalid: false|Found unexpected", out.stdout + out.stderr)
    offsets = [int(n) for n in re.findall(r"^\|? ?offset: (\d+)", out.stdout, re.M)]
    assert offsets == sorted(set(offsets)) and len(offsets) < 6000
    ours = c.tool("dump-log", "--files", ",".join(map(str, logs)), "--deep-iteration", "--print-data-log").stdout
    assert [x for x in ours.splitlines() if "ffset" in x and "Non-cons" not in x] == [
        x for x in out.stdout.splitlines() if "ffset" in x and "Non-cons" not in x]
    indexes = sorted(folder.glob("*.index")) + sorted(folder.glob("*.timeindex"))
    assert any(f.stat().st_size > 0 for f in indexes)
    dump(indexes, "--index-sanity-check")
    dump(indexes, "--verify-index-only")
