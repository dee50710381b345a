# SPDX-License-Identifier: Apache-2.0
"""Hostile requests against a live broker, with a well-behaved client beside them.

  KAFUKA_BUILD=... hostile.py [--requests 100000] [--seed 1]     three brokers of that build (use one with sanitizers)
"""
import argparse
import pathlib
import random
import socket
import struct
import sys
import tempfile
import threading
import time

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "frames.txt"


def golden_requests():
    """Captured request frames, without their size field."""
    rows = (line.split() for line in GOLDEN.read_text().splitlines() if line.startswith("request "))
    return [bytes.fromhex(row[3]) for row in rows]


def header(key, version, body, correlation=1, client=b"hostile"):
    return struct.pack(">hhih", key, version, correlation, len(client)) + client + body


def string(s):
    return struct.pack(">h", len(s)) + s


def produce(topic, records, version=3, acks=1):
    body = struct.pack(">hhii", -1, acks, 1000, 1) + string(topic) + struct.pack(">iii", 1, 0, len(records)) + records
    return header(0, version, body)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch(payload=b"", count=1, attributes=0, magic=2, good_crc=True, base=0, last=None):
    tail = struct.pack(">hiqqqhii", attributes, count - 1 if last is None else last, 0, 0, -1, -1, -1, count) + payload
    crc = crc32c(tail) if good_crc else 0x12345678
    rest = struct.pack(">ibI", -1, magic, crc) + tail
    return struct.pack(">qi", base, len(rest)) + rest


RECORD = b"\x0e\x00\x00\x00\x01\x02v\x00"


def crafted(rng, topic):
    """One frame (with its size field) that no honest client sends."""
    def framed(f):
        return struct.pack(">i", len(f)) + f

    kinds = [
        lambda: struct.pack(">i", -rng.randrange(1, 2**31)) + rng.randbytes(20),
        lambda: struct.pack(">i", rng.randrange(104857601, 2**31)) + rng.randbytes(50),
        lambda: struct.pack(">i", 104857600) + rng.randbytes(rng.randrange(200)),
        lambda: struct.pack(">i", 200) + rng.randbytes(rng.randrange(199)),
        lambda: framed(rng.randbytes(rng.randrange(0, 300))),
        lambda: framed(header(rng.randrange(-32768, 32768), rng.randrange(-5, 30), rng.randbytes(rng.randrange(100)))),
        lambda: framed(header(3, 1, struct.pack(">i", rng.choice([2**31 - 1, 1000000, -2, -2**31])) + rng.randbytes(30))),
        lambda: framed(header(1, 4, struct.pack(">iiiibi", -1, 10, 1, 2**31 - 1, 0, rng.choice([2**31 - 1, 70000, -7])) + rng.randbytes(40))),
        lambda: framed(header(18, rng.choice([3, 4, 5, 100]), rng.randbytes(rng.randrange(30)))),
        lambda: framed(produce(topic, batch(RECORD, good_crc=False))),
        lambda: framed(produce(topic, batch(RECORD, magic=rng.choice([0, 1, 3, 127])))),
        lambda: framed(produce(topic, batch(RECORD, count=rng.choice([0, -1, 2**31 - 1, 1000]), last=0))),
        lambda: framed(produce(topic, batch(rng.randbytes(40), attributes=rng.randrange(1, 8)))),
        lambda: framed(produce(topic, batch(RECORD, attributes=rng.choice([0x20, 0x30, 0x40])))),
        lambda: framed(produce(topic, batch(b"\xff\xff\xff\xff\x0f" + RECORD))),
        lambda: framed(produce(topic, batch(RECORD)[:-3])),
        lambda: framed(produce(topic, batch(RECORD) + rng.randbytes(5))),
        lambda: framed(produce(topic, batch(b"x" * 1100000))) if rng.random() < 0.02 else framed(produce(topic, b"")),
        lambda: framed(produce(b"no-such-topic-" + b"%d" % rng.randrange(5), batch(RECORD))),
        lambda: framed(produce(b"../../etc", batch(RECORD))),
        lambda: framed(produce(topic, batch(RECORD), acks=rng.randrange(-100, 100))),
    ]
    return rng.choice(kinds)()


def mutated(rng, frames):
    """A captured frame with a few bytes changed, cut or doubled."""
    f = bytearray(rng.choice(frames))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(f)) if f else 0
        what = rng.randrange(5)
        if what == 0 and f:
            f[at] = rng.randrange(256)
        elif what == 1 and f:
            f[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            f[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif what == 3:
            del f[at:at + rng.randrange(1, 9)]
        else:
            f[at:at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00"])
    # deleting or creating topics by accident would disturb the client beside us, not show a fault
    if len(f) >= 2 and struct.unpack(">h", f[:2])[0] in (4, 5, 6, 7, 19, 20, 37, 56):
        f[0:2] = struct.pack(">h", 3)
    return struct.pack(">i", len(f)) + bytes(f)


def send_one(address, data, rng):
    with socket.create_connection(address, timeout=10) as s:
        try:
            s.sendall(data)
            if rng.random() < 0.3:
                s.shutdown(socket.SHUT_WR)
                s.settimeout(2)
                while s.recv(65536):
                    pass
        except OSError:
            pass


def attack(addresses, topic, requests, seed, workers=4):
    frames = golden_requests()
    errors = []

    def work(number):
        rng = random.Random(seed * 1000 + number)
        try:
            for i in range(requests // workers):
                use_golden = frames and i % 2 == 0
                send_one(addresses[i % len(addresses)], mutated(rng, frames) if use_golden else crafted(rng, topic), rng)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    return len(frames)


class Bystander(threading.Thread):
    """Writes numbered records and reads them back while the others misbehave."""

    def __init__(self, bootstrap, topic):
        super().__init__()
        import confluent_kafka

        self.topic, self.stopping, self.errors, self.acked, self.read = topic, threading.Event(), [], 0, 0
        self.producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 1, "error_cb": self.errors.append})
        self.consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False,
                                                  "error_cb": self.errors.append})
        self.consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])

    def delivered(self, error, message):
        if error:
            self.errors.append(error)
        else:
            self.acked += 1

    def poll(self):
        m = self.consumer.poll(0.01)
        if m is None:
            return
        if m.error():
            self.errors.append(m.error())
        elif m.value() != b"%d" % self.read:
            self.errors.append(f"record {m.value()!r} where {self.read} was expected")
            self.read += 1
        else:
            self.read += 1

    def run(self):
        sent = 0
        while not self.stopping.is_set():
            if sent - self.read < 100:
                self.producer.produce(self.topic, b"%d" % sent, on_delivery=self.delivered)
                sent += 1
            self.producer.poll(0)
            self.poll()
        self.producer.flush(60)
        deadline = time.monotonic() + 60
        while self.read < sent and time.monotonic() < deadline:
            self.poll()
        if self.read != sent or self.acked != sent:
            self.errors.append(f"sent {sent}, acknowledged {self.acked}, read {self.read}")
        self.consumer.close()


def rss_kib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main():
    from cluster import Cluster

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--requests", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    c = Cluster(tempfile.mkdtemp(prefix="kafuka-hostile-", dir="/var/tmp"), 3).start()
    try:
        c.create_topic("calm", partitions=1, factor=3)
        c.create_topic("target", partitions=1, factor=1)
        bystander = Bystander(c.bootstrap, "calm")
        bystander.start()
        addresses = [("127.0.0.1", b.port) for b in c.brokers]
        attack(addresses, b"target", a.requests // 10, a.seed + 1)
        before = [rss_kib(b.pid) for b in c.brokers]
        t = time.monotonic()
        frames = attack(addresses, b"target", a.requests, a.seed)
        after = [rss_kib(b.pid) for b in c.brokers]
        print(f"{a.requests} hostile requests ({frames} golden frames, half of the requests mutate one) in {time.monotonic() - t:.0f} s")
        print(f"RSS of the brokers, KiB: {before} after a tenth of them, {after} at the end")
        bystander.stopping.set()
        bystander.join()
        print(f"the client beside them: {bystander.acked} records acknowledged, {bystander.read} read, {len(bystander.errors)} errors {bystander.errors[:3]}")
        assert not bystander.errors
    finally:
        c.stop()  # fails on a crash, a sanitizer report or a leak
    print("no crash, no leak, no error at the client")


if __name__ == "__main__":
    sys.exit(main())
