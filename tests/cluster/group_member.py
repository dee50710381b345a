#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One member of a consumer group, on confluent-kafka or kafka-python, that writes down what happens to it.

  group_member.py --library confluent|kafka-python --bootstrap B --group G --topic T --log FILE [--assignor A[,A]] [--instance-id I]
                  [--session-ms N] [--commit-ms N]

The log has one JSON object a line, written with one write() before anything that follows from it (a commit) is done, so that it tells
the truth about a member that is killed: t (CLOCK_MONOTONIC), e (the event), and by event
  assigned   generation, partitions (what this assignment gives), owned (all that the member has now)
  revoked    partitions, owned (what is left); lost: the same without the right to commit
  records    r: [[partition, offset], ...] as handed to the application
  committed  offsets: {partition: offset}; commit_failed: also error
  closed     it left in order
SIGTERM: commits, leaves and ends with 0. kafka-python 2.0.2 may trip over a socket that another of its threads has just closed: 75.
"""
import argparse
import json
import os
import signal
import sys
import time

POLL_RECORDS_MAX = 500
OWN_DEFECT = 75  # exit status


class Log:
    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event, **fields):
        line = json.dumps({"t": time.monotonic(), "e": event, **fields}) + "\n"
        os.write(self.fd, line.encode())


class Member:
    """What both libraries share: the owned set, and what has been handed out but not committed."""

    def __init__(self, args, log):
        self.args, self.log = args, log
        self.owned, self.position = set(), {}
        self.stop = False
        self.last_commit = time.monotonic()

    def assigned(self, partitions, generation):
        self.owned |= set(partitions)
        self.log("assigned", generation=generation, partitions=sorted(partitions), owned=sorted(self.owned))

    def taken(self, event, partitions):
        self.owned -= set(partitions)
        for p in partitions:
            self.position.pop(p, None)
        self.log(event, partitions=sorted(partitions), owned=sorted(self.owned))

    def handed_out(self, records):
        if records:
            self.log("records", r=records)
            for p, o in records:
                self.position[p] = o + 1

    def commit(self, partitions=None):
        offsets = {p: o for p, o in self.position.items() if partitions is None or p in partitions}
        self.last_commit = time.monotonic()
        if not offsets:
            return
        try:
            self.commit_offsets(offsets)
        except Exception as e:  # fenced, not reachable, rebalancing: the records come again to whoever owns them
            self.log("commit_failed", offsets=offsets, error=repr(e)[:200])
            return
        for p, o in offsets.items():
            if self.position.get(p) == o:
                del self.position[p]
        self.log("committed", offsets=offsets)

    def run(self):
        self.log("start", pid=os.getpid())
        self.open()
        while not self.stop:
            self.poll()
            if time.monotonic() - self.last_commit > self.args.commit_ms / 1000:
                self.commit()
        self.commit()
        self.close()
        self.log("closed")


class Confluent(Member):
    def open(self):
        import confluent_kafka

        self.lib = confluent_kafka
        config = {
            "bootstrap.servers": self.args.bootstrap, "group.id": self.args.group, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "session.timeout.ms": self.args.session_ms,
            "heartbeat.interval.ms": max(200, self.args.session_ms // 6), "partition.assignment.strategy": self.args.assignor,
            "topic.metadata.refresh.interval.ms": 2000, "reconnect.backoff.max.ms": 1000, "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 100, "client.id": self.args.name, "socket.timeout.ms": 10000,
        }
        if self.args.instance_id:
            config["group.instance.id"] = self.args.instance_id
        self.cooperative = self.args.assignor == "cooperative-sticky"
        self.consumer = confluent_kafka.Consumer(config)
        self.consumer.subscribe([self.args.topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def names(self, partitions):
        return [f"{p.topic}-{p.partition}" for p in partitions]

    def generation(self):
        """librdkafka hands its group metadata over as bytes: "CGMDv2:", int32 generation, ..."""
        blob = bytes(self.consumer.consumer_group_metadata())
        return int.from_bytes(blob[7:11], sys.byteorder, signed=True) if blob.startswith(b"CGMDv2:") else -1

    def on_assign(self, _, partitions):
        self.assigned(self.names(partitions), self.generation())

    def on_revoke(self, _, partitions):
        self.commit(set(self.names(partitions)))
        self.taken("revoked", self.names(partitions))

    def on_lost(self, _, partitions):
        self.taken("lost", self.names(partitions))

    def commit_offsets(self, offsets):
        wanted = [self.lib.TopicPartition(*self.split(p), o) for p, o in offsets.items()]
        for p in self.consumer.commit(offsets=wanted, asynchronous=False):
            if p.error:
                raise RuntimeError(str(p.error))

    @staticmethod
    def split(name):
        topic, _, partition = name.rpartition("-")
        return topic, int(partition)

    def poll(self):
        # one at a time: a batch may hold records of a partition that a callback inside the same call gave up
        timeout, records = 0.1, []
        while len(records) < POLL_RECORDS_MAX:
            before = len(self.owned)
            m = self.consumer.poll(timeout)
            if m is None:
                break
            if m.error():
                self.log("error", error=str(m.error())[:200])
                break
            records.append([f"{m.topic()}-{m.partition()}", m.offset()])
            timeout = 0
            self.handed_out(records[-1:])
            if len(self.owned) != before:
                break

    def close(self):
        self.consumer.close()


class KafkaPython(Member):
    def open(self):
        import kafka
        from kafka.coordinator.assignors.range import RangePartitionAssignor
        from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

        self.lib = kafka
        assignors = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}
        self.consumer = kafka.KafkaConsumer(
            bootstrap_servers=self.args.bootstrap.split(","), group_id=self.args.group, enable_auto_commit=False, auto_offset_reset="earliest",
            session_timeout_ms=self.args.session_ms, heartbeat_interval_ms=max(200, self.args.session_ms // 6), client_id=self.args.name,
            request_timeout_ms=max(40000, self.args.session_ms * 2), metadata_max_age_ms=2000, reconnect_backoff_max_ms=1000,
            retry_backoff_ms=100, fetch_max_wait_ms=100, partition_assignment_strategy=[assignors[a] for a in self.args.assignor.split(",")])
        member = self

        class Listener(kafka.ConsumerRebalanceListener):
            def on_partitions_revoked(self, revoked):
                names = [f"{p.topic}-{p.partition}" for p in revoked]
                member.commit(set(names))
                member.taken("revoked", names)

            def on_partitions_assigned(self, assigned):
                generation = member.consumer._coordinator._generation.generation_id
                member.assigned([f"{p.topic}-{p.partition}" for p in assigned], generation)

        self.consumer.subscribe(topics=[self.args.topic], listener=Listener())

    def commit_offsets(self, offsets):
        meta = self.lib.structs.OffsetAndMetadata
        self.consumer.commit({self.lib.TopicPartition(*Confluent.split(p)): meta(o, "") for p, o in offsets.items()})

    def poll(self):
        try:
            got = self.consumer.poll(timeout_ms=100, max_records=POLL_RECORDS_MAX)
        except self.lib.errors.KafkaError as e:
            self.log("error", error=repr(e)[:200])
            return
        except ValueError as e:
            if "Invalid file object" not in str(e):
                raise
            self.log("error", error=repr(e)[:200])
            os._exit(OWN_DEFECT)
        self.handed_out([[f"{p.topic}-{p.partition}", r.offset] for p, batch in got.items() for r in batch])

    def close(self):
        self.consumer.close(autocommit=False)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--library", choices=["confluent", "kafka-python"], required=True)
    for name in ("bootstrap", "group", "topic", "log"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--name", default="member")
    p.add_argument("--assignor", default="range")
    p.add_argument("--instance-id")
    p.add_argument("--session-ms", type=int, default=6000)
    p.add_argument("--commit-ms", type=int, default=200)
    args = p.parse_args()
    member = {"confluent": Confluent, "kafka-python": KafkaPython}[args.library](args, Log(args.log))

    def on_term(*_):
        member.stop = True

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, on_term)
    member.run()


if __name__ == "__main__":
    main()
