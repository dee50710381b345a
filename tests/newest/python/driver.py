# SPDX-License-Identifier: Apache-2.0
"""The Python clients behind the commands that README.md describes: driver.py CLIENT COMMAND ARGUMENTS."""
import asyncio
import json
import sys
import threading
import time

T0 = 1700000000000


def say(**line):
    print(json.dumps(line), flush=True)


def said(partition, offset, timestamp, key, value, headers):
    say(partition=partition, offset=offset, timestamp=timestamp, key=key.decode(), value=value.decode(),
        header=dict(headers or [])["n"].decode())


def records(topic, count):
    for n in range(count):
        yield dict(n=n, partition=n % 3, key=b"k%d" % n, value=f"{topic} {n} {'v' * (200 + n % 500)}".encode(), timestamp=T0 + n,
                   headers=[("n", b"%d" % n)])


def stdin_closed():
    """An event that is set when standard input ends: the sign for a member to leave."""
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    return closed


class Confluent:
    def version():
        import confluent_kafka
        return f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"

    def __init__(self, bootstrap):
        import confluent_kafka
        import confluent_kafka.admin
        self.ck, self.admin = confluent_kafka, confluent_kafka.admin
        self.conf = {"bootstrap.servers": bootstrap}

    def metadata(self):
        topics = self.admin.AdminClient(self.conf).list_topics(timeout=20).topics
        say(topics={t.topic: len(t.partitions) for t in topics.values()})

    def produce(self, topic, codec, count):
        def delivered(error, m):
            assert error is None, error
            say(partition=m.partition(), offset=m.offset(), key=m.key().decode())

        p = self.ck.Producer({**self.conf, "compression.type": codec, "acks": "all", "linger.ms": 20})
        for r in records(topic, count):
            p.produce(topic, r["value"], r["key"], r["partition"], delivered, timestamp=r["timestamp"], headers=r["headers"])
        assert p.flush(30) == 0

    def said(self, m):
        assert m.error() is None, m.error()
        said(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers())

    def consume(self, topic, count):
        c = self.ck.Consumer({**self.conf, "group.id": "unused", "enable.auto.commit": False})
        c.assign([self.ck.TopicPartition(topic, p, 0) for p in range(3)])
        for _ in range(count):
            self.said(c.poll(30))
        c.close()

    def group(self, topic, group):
        closed = stdin_closed()
        c = self.ck.Consumer({**self.conf, "group.id": group, "auto.offset.reset": "earliest", "heartbeat.interval.ms": 500})
        c.subscribe([topic])
        while not closed.is_set():
            m = c.poll(0.1)
            if m:
                self.said(m)
        c.close()

    def create(self, topic):
        new = self.admin.NewTopic(topic, 3, 3, config={"retention.ms": "123456789"})
        client = self.admin.AdminClient(self.conf)  # a client without a name ends before it has asked
        client.create_topics([new])[topic].result(20)

    def configs(self, topic):
        resource = self.ck.admin.ConfigResource("topic", topic)
        client = self.admin.AdminClient(self.conf)
        values = client.describe_configs([resource])[resource].result(20)
        say(configs={c.name: c.value for c in values.values()})

    def delete(self, topic):
        client = self.admin.AdminClient(self.conf)
        client.delete_topics([topic])[topic].result(20)

    def transaction(self, name):
        self.ck.Producer({**self.conf, "transactional.id": name}).init_transactions(30)


class KafkaPython:
    def version():
        import kafka
        return kafka.__version__

    def __init__(self, bootstrap):
        import kafka
        import kafka.admin
        self.kafka, self.conf = kafka, {"bootstrap_servers": bootstrap.split(",")}

    def metadata(self):
        c = self.kafka.KafkaConsumer(**self.conf)
        say(topics={t: len(c.partitions_for_topic(t)) for t in c.topics()})

    def produce(self, topic, codec, count):
        p = self.kafka.KafkaProducer(**self.conf, acks="all", linger_ms=20, compression_type=None if codec == "none" else codec)
        sent = [(r["key"], p.send(topic, key=r["key"], value=r["value"], partition=r["partition"], timestamp_ms=r["timestamp"],
                                  headers=r["headers"])) for r in records(topic, count)]
        for key, future in sent:
            m = future.get(timeout=30)
            say(partition=m.partition, offset=m.offset, key=key.decode())
        p.close()

    def said(self, m):
        said(m.partition, m.offset, m.timestamp, m.key, m.value, m.headers)

    def consume(self, topic, count):
        c = self.kafka.KafkaConsumer(**self.conf, enable_auto_commit=False, consumer_timeout_ms=30000)
        c.assign([self.kafka.TopicPartition(topic, p) for p in range(3)])
        c.seek_to_beginning()
        for _ in range(count):
            self.said(next(c))
        c.close()

    def group(self, topic, group):
        closed = stdin_closed()
        c = self.kafka.KafkaConsumer(topic, **self.conf, group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=500)
        while not closed.is_set():
            got = c.poll(timeout_ms=2000)  # 3.0.12 forgets the answer to a SyncGroup when poll() ends before it has come
            for m in (m for of_partition in got.values() for m in of_partition):
                self.said(m)
        c.close()

    def admin(self):
        return self.kafka.admin.KafkaAdminClient(**self.conf)

    def create(self, topic):
        self.admin().create_topics([self.kafka.admin.NewTopic(topic, 3, 3, topic_configs={"retention.ms": "123456789"})])

    def configs(self, topic):
        resource = self.kafka.admin.ConfigResource(self.kafka.admin.ConfigResourceType.TOPIC, topic)
        found = self.admin().describe_configs([resource], config_filter="all")
        say(configs={name: c["value"] for name, c in found["topic"][topic].items()})

    def delete(self, topic):
        self.admin().delete_topics([topic])

    def transaction(self, name):
        self.kafka.KafkaProducer(**self.conf, transactional_id=name).init_transactions()


class Aiokafka:
    def version():
        import aiokafka
        return aiokafka.__version__

    def __init__(self, bootstrap):
        import aiokafka
        import aiokafka.admin
        self.a, self.conf = aiokafka, {"bootstrap_servers": bootstrap}

    async def metadata(self):
        topics = await self.with_admin(lambda a: a.describe_topics())
        say(topics={t["topic"]: len(t["partitions"]) for t in topics})

    async def produce(self, topic, codec, count):
        p = self.a.AIOKafkaProducer(**self.conf, acks="all", linger_ms=20, compression_type=None if codec == "none" else codec)
        await p.start()
        sent = [(r["key"], await p.send(topic, key=r["key"], value=r["value"], partition=r["partition"], timestamp_ms=r["timestamp"],
                                        headers=r["headers"])) for r in records(topic, count)]
        for key, future in sent:
            m = await future
            say(partition=m.partition, offset=m.offset, key=key.decode())
        await p.stop()

    def said(self, m):
        said(m.partition, m.offset, m.timestamp, m.key, m.value, m.headers)

    async def consume(self, topic, count):
        c = self.a.AIOKafkaConsumer(**self.conf, enable_auto_commit=False)
        await c.start()
        c.assign([self.a.TopicPartition(topic, p) for p in range(3)])
        await c.seek_to_beginning()
        for _ in range(count):
            self.said(await asyncio.wait_for(c.getone(), 30))
        await c.stop()

    async def group(self, topic, group):
        closed = stdin_closed()
        c = self.a.AIOKafkaConsumer(topic, **self.conf, group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=500)
        await c.start()
        while not closed.is_set():
            got = await c.getmany(timeout_ms=100)
            for m in (m for of_partition in got.values() for m in of_partition):
                self.said(m)
        await c.stop()

    async def with_admin(self, call):
        a = self.a.admin.AIOKafkaAdminClient(**self.conf)
        await a.start()
        try:
            return await call(a)
        finally:
            await a.close()

    async def create(self, topic):
        new = self.a.admin.NewTopic(topic, 3, 3, topic_configs={"retention.ms": "123456789"})
        answer = await self.with_admin(lambda a: a.create_topics([new]))
        assert all(e[1] == 0 for e in answer.topic_errors), answer

    async def configs(self, topic):
        resource = self.a.admin.config_resource.ConfigResource(self.a.admin.config_resource.ConfigResourceType.TOPIC, topic)
        (answer,) = await self.with_admin(lambda a: a.describe_configs([resource]))
        (error, message, _, name, entries) = answer.resources[0]
        assert (error, name) == (0, topic), message
        say(configs={e[0]: e[1] for e in entries})

    async def delete(self, topic):
        answer = await self.with_admin(lambda a: a.delete_topics([topic]))
        assert all(e[1] == 0 for e in answer.topic_error_codes), answer

    async def transaction(self, name):
        p = self.a.AIOKafkaProducer(**self.conf, transactional_id=name)
        try:
            await p.start()
        finally:
            await p.stop()


CLIENTS = {"confluent-kafka": Confluent, "kafka-python": KafkaPython, "aiokafka": Aiokafka}


def call(client, command, arguments):
    result = getattr(client, command)(*(int(a) if a.isdigit() else a for a in arguments))
    if asyncio.iscoroutine(result):
        asyncio.run(result)



def main():
    cls, command, arguments = CLIENTS[sys.argv[1]], sys.argv[2], sys.argv[3:]
    if command == "version":
        say(version=cls.version())
        return
    client, arguments = cls(arguments[0]), arguments[1:]
    if command != "transaction":
        call(client, command, arguments)
        return
    began = time.monotonic()
    try:
        call(client, command, arguments)
        say(error="", seconds=time.monotonic() - began)
    except Exception as e:
        say(error=f"{type(e).__name__}: {e}", seconds=time.monotonic() - began)


main()
