#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records the requests of the newest clients (tests/newest) into newest.txt beside this file.

Usage: tests/newest/run BUILD-FOLDER --capture    (it knows the clients and calls this)

Each client does its work of tests/newest through a proxy before three kafuka brokers; brokers talk to
each other beside it. Kept are the first PER_KIND requests of each client, API and version that differ in
length: lines of "request KEY VERSION HEX CLIENT VERSION", the frame without its size."""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster"), str(HERE.parent / "newest")]
import capture  # noqa: E402
from cluster import Cluster, free_ports  # noqa: E402

PER_KIND = 3
BYTES_MAX = 600


class Requests:
    """What capture.serve() fills; `who` is the client whose turn it is."""

    def __init__(self):
        self.who, self.kept = "", {}

    def add(self, key, version, kind, frame):
        kept = self.kept.setdefault((key, version, self.who), {})
        if kind == "request" and len(frame) <= BYTES_MAX and len(kept) < PER_KIND:
            kept.setdefault(len(frame), frame.hex())

    def save(self, path):
        with open(path, "w", encoding="ascii") as f:
            f.write("# Requests of the newest clients; see README.md\n")
            for (key, version, who), kept in sorted(self.kept.items()):
                for _, text in sorted(kept.items()):
                    f.write(f"request {key} {version} {text} {who}\n")


def proxy(requests, pairs):
    """Stands between, on a thread of its own, for as long as the program runs."""
    async def run():
        for listen, target in pairs:
            await asyncio.start_server(lambda r, w, target=target: capture.serve(requests, target, r, w), "127.0.0.1", listen)
        ready.set()
        await asyncio.Event().wait()

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    ready.wait()


def work(argv, bootstrap, name, lacks):
    """A client's work; what it answers is tested elsewhere."""
    def call(*args, **more):
        return subprocess.run([*argv, args[0], bootstrap, *args[1:]], check=True, timeout=60, text=True, stdout=subprocess.PIPE, **more)

    topic = f"{name}-work"
    call("metadata")
    call("create", topic)
    call("produce", topic, "gzip", "9")  # short frames
    call("consume", topic, "9")
    with subprocess.Popen([*argv, "group", bootstrap, topic, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as member:
        for _ in range(9):
            member.stdout.readline()
        member.stdin.close()
        assert member.wait(timeout=30) == 0
    if "configs" not in lacks:
        call("configs", topic)
    call("delete", topic)
    call("transaction", topic)


def main():
    clients = json.loads(os.environ["KAFUKA_NEWEST_CLIENTS"])
    requests = Requests()
    advertised, internal = free_ports(3), free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(folder, options={"group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "false"})
        for b, out, inside in zip(cluster.brokers, advertised, internal):
            b.write_properties(listeners=f"PLAINTEXT://127.0.0.1:{b.port},INSIDE://127.0.0.1:{inside}", inter_broker_listener_name="INSIDE",
                               advertised_listeners=f"PLAINTEXT://127.0.0.1:{out},INSIDE://127.0.0.1:{inside}",
                               listener_security_protocol_map="PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT")
        proxy(requests, [(out, b.port) for b, out in zip(cluster.brokers, advertised)])
        try:
            cluster.start()
            for c in clients:
                requests.who = f"{c['name']} {c['version'].split()[0]}"
                work(c["argv"], ",".join(f"127.0.0.1:{p}" for p in advertised), c["name"], c["lacks"])
                requests.who = "?"
        finally:
            cluster.stop()
    requests.kept = {k: v for k, v in requests.kept.items() if k[2] not in ("", "?")}
    requests.save(HERE / "newest.txt")


if __name__ == "__main__":
    main()
