# SPDX-License-Identifier: Apache-2.0
"""Debian's package index as load: every non-empty line of `apt-cache dumpavail` is a record, six partitions, three replicas, 1 MiB segments.

  debian_index.py [--build DIR] same     kcat writes with each codec, three clients read: sorted lines are the same to the byte
  debian_index.py [--build DIR] killed   the same input while the leader of most partitions, then the controller, is killed with
                                         kill -9 and restarted: no acknowledged line is missing, replicas end byte-identical

Use a release build (./configure && make), not one with sanitizers: the input has over a million lines.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))

PARTITIONS = 6
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def sorted_digest(path):
    """sha256 of the file's lines in byte order."""
    out = subprocess.run(f"LC_ALL=C sort -S 1G '{path}' | sha256sum", shell=True, check=True, capture_output=True, text=True)
    return out.stdout.split()[0]


def package_index(folder):
    path = folder / "index"
    subprocess.run(f"apt-cache dumpavail | grep -v '^$' > '{path}'", shell=True, check=True)
    count = int(subprocess.run(["wc", "-l", path], check=True, capture_output=True, text=True).stdout.split()[0])
    assert count > 100000, f"only {count} lines: run apt-get update first"
    return path, count


def read_with_kcat(cluster, topic, path):
    with open(path, "wb") as out:
        subprocess.run(["kcat", "-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q", "-f", "%s\n"], stdout=out, check=True)


def read_with_confluent(cluster, topic, path):
    import confluent_kafka

    c = confluent_kafka.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "none", "enable.auto.commit": False,
                                  "enable.partition.eof": True})
    c.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    ended = set()
    with open(path, "wb") as out:
        while len(ended) < PARTITIONS:
            messages = c.consume(10000, timeout=30)
            assert messages, "no message in 30 s"
            for m in messages:
                if m.error():
                    assert m.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, m.error()
                    ended.add(m.partition())
                else:
                    out.write(m.value() + b"\n")
    c.close()


def read_with_kafka_python(cluster, topic, path, count):
    import kafka

    c = kafka.KafkaConsumer(bootstrap_servers=cluster.bootstrap.split(","), consumer_timeout_ms=60000, enable_auto_commit=False,
                            check_crcs=False)
    c.assign([kafka.TopicPartition(topic, p) for p in range(PARTITIONS)])
    c.seek_to_beginning()
    got = 0
    with open(path, "wb") as out:
        while got < count:
            batch = c.poll(timeout_ms=30000, max_records=20000)
            assert batch, f"no message in 30 s after {got}"
            for messages in batch.values():
                for m in messages:
                    out.write(m.value + b"\n")
                got += len(messages)
    c.close()


def same(cluster, folder, codecs):
    index, count = package_index(folder)
    wanted = sorted_digest(index)
    print(f"{count} lines, {index.stat().st_size} bytes, sorted sha256 {wanted[:16]}")
    failures = 0
    for codec in codecs:
        topic = f"index-{codec}"
        cluster.create_topic(topic, partitions=PARTITIONS, factor=3, segment_bytes=1048576)
        t = time.monotonic()
        with open(index, "rb") as lines:
            subprocess.run(["kcat", "-b", cluster.bootstrap, "-P", "-t", topic, "-z", codec, "-X", "acks=all", "-X", "linger.ms=5"],
                           stdin=lines, check=True)
        wrote = time.monotonic() - t
        results = []
        for name, read in (("kcat", read_with_kcat), ("confluent-kafka", read_with_confluent),
                           ("kafka-python", lambda c, tp, p: read_with_kafka_python(c, tp, p, count))):
            t = time.monotonic()
            out = folder / f"out-{name}"
            read(cluster, topic, out)
            ok = sorted_digest(out) == wanted
            failures += not ok
            results.append(f"{name} {'same' if ok else 'DIFFERENT'} ({time.monotonic() - t:.1f} s)")
            out.unlink()
        segments = len(list(cluster.brokers[0].data.glob(f"{topic}-*/*.log")))
        print(f"{codec}: written in {wrote:.1f} s, {segments} segments on broker 0; read: {', '.join(results)}", flush=True)
    return failures


class Producer(threading.Thread):
    """Sends every line with its number as key; knows which lines were acknowledged."""

    def __init__(self, cluster, topic, lines):
        super().__init__()
        import confluent_kafka

        self.topic, self.lines, self.acked, self.failed = topic, lines, bytearray(len(lines)), []
        self.ack_count = 0
        self.longest_gap, self.last_ack = 0.0, time.monotonic()
        self.producer = confluent_kafka.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 5,
                                                  "message.timeout.ms": 120000, "queue.buffering.max.messages": 200000,
                                                  "retry.backoff.ms": 50, "reconnect.backoff.max.ms": 500})

    def run(self):
        for number, line in enumerate(self.lines):
            while True:
                try:
                    self.producer.produce(self.topic, line, key=b"%d" % number, on_delivery=self.delivered)
                    break
                except BufferError:
                    self.producer.poll(0.05)
            if number % 64 == 0:
                self.producer.poll(0)
        self.left = self.producer.flush(180)

    def delivered(self, error, message):
        number = int(message.key())
        if error:
            self.failed.append((number, str(error)))
            return
        self.acked[number] = 1
        self.ack_count += 1
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self.last_ack)
        self.last_ack = now


def killed(cluster, folder):
    from cluster import concatenated_logs, wait_until

    index, count = package_index(folder)
    lines = index.read_bytes().splitlines()
    topic = "killed"
    cluster.create_topic(topic, partitions=PARTITIONS, factor=3, segment_bytes=1048576)
    zk = cluster.zk_client()
    producer = Producer(cluster, topic, lines)
    producer.start()

    def describe(title):
        alive = next(b for b in cluster.brokers if b.alive())
        print(f"-- {title} ({producer.ack_count} lines acknowledged)")
        print(cluster.tool("topics", "--bootstrap-server", alive.address, "--describe", "--topic", topic).stdout, flush=True)

    def kill_and_restart(number, title):
        cluster.brokers[number].kill()
        print(f"killed broker {number}: {title}")
        alive = next(b for b in cluster.brokers if b.alive())
        wait_until(lambda: all(cluster.leader_and_isr(topic, p, alive)[0] not in (-1, number) for p in range(PARTITIONS)), 60, "new leaders")
        wait_until(lambda: all(number not in cluster.leader_and_isr(topic, p, alive)[1] for p in range(PARTITIONS)), 60, "the ISR to shrink")
        before = producer.ack_count
        wait_until(lambda: producer.ack_count > before or not producer.is_alive(), 60, "acknowledgements to go on")
        describe(f"after the kill of broker {number}")
        cluster.brokers[number].start()
        cluster.wait_isr(topic, PARTITIONS, 3, timeout=120)
        describe(f"broker {number} is back")

    wait_until(lambda: producer.ack_count > count // 4, 120, "a quarter of the lines")
    describe("before")
    leaders = collections.Counter(cluster.leader_and_isr(topic, p)[0] for p in range(PARTITIONS))
    # of equals, one that is not the controller: that one has its own turn
    controller = json.loads(zk.get("/controller")[0])["brokerid"]
    first = max(leaders, key=lambda n: (leaders[n], n != controller))
    kill_and_restart(first, f"it led {leaders[first]} of {PARTITIONS} partitions")
    controller = json.loads(zk.get("/controller")[0])["brokerid"]
    kill_and_restart(controller, "it was the controller")
    producer.join()
    zk.stop()
    acked = producer.ack_count
    print(f"{count} lines sent, {acked} acknowledged, {len(producer.failed)} failed, {producer.left} without report, "
          f"longest time without an acknowledgement {producer.longest_gap:.2f} s")
    out = folder / "read"
    with open(out, "wb") as f:
        subprocess.run(["kcat", "-b", cluster.bootstrap, "-C", "-t", topic, "-e", "-q", "-f", "%k %s\n"], stdout=f, check=True)
    seen, read, wrong = bytearray(count), 0, 0
    with open(out, "rb") as f:
        for row in f:
            number, value = row[:-1].split(b" ", 1)
            wrong += value != lines[int(number)]
            seen[int(number)] = 1
            read += 1
    missing = sum(1 for a, s in zip(producer.acked, seen) if a and not s)
    print(f"read {read} records: {missing} acknowledged lines missing, {wrong} altered, {read - sum(seen)} repeated by the producer's retries")
    wait_until(lambda: all(len({len(concatenated_logs(b, topic, p)) for b in cluster.brokers}) == 1 for p in range(PARTITIONS)), 60, "equal LEOs")
    different = [p for p in range(PARTITIONS) if len({concatenated_logs(b, topic, p) for b in cluster.brokers}) != 1]
    print(f"replicas: {PARTITIONS - len(different)} of {PARTITIONS} partitions byte-identical on three brokers"
          + (f", DIFFERENT: {different}" if different else ""))
    return missing + wrong + len(different) + (acked == 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["same", "killed"])
    parser.add_argument("--build", help="folder with kafuka-broker and kafuka")
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    a = parser.parse_args()
    if a.build:
        os.environ["KAFUKA_BUILD"] = str(pathlib.Path(a.build).resolve())
    from cluster import Cluster

    folder = pathlib.Path(tempfile.mkdtemp(prefix="kafuka-index-", dir="/var/tmp"))
    cluster = Cluster(folder / "cluster", count=3, options={"replica.lag.time.max.ms": 10000, "zookeeper.session.timeout.ms": 6000})
    failures = 1
    try:
        cluster.start()
        failures = same(cluster, folder, a.codecs.split(",")) if a.what == "same" else killed(cluster, folder)
    finally:
        cluster.stop()
        if a.keep or failures:
            print(f"kept: {folder}")
        else:
            subprocess.run(["rm", "-rf", "--", str(folder)], check=True)
    print("0 failures" if not failures else f"{failures} FAILURES")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
