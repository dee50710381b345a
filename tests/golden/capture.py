#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records Kafka's frames between real clients and a real broker, for the files of this folder.

Usage: capture.py OUTPUT_FILE LISTEN_PORT:TARGET_PORT...    (on 127.0.0.1; ends with SIGINT or SIGTERM)

Stands between clients and brokers whose advertised listeners name the LISTEN ports. Of each API, version
and direction it keeps the first frames that differ in length, PER_KIND at most, and adds them to
OUTPUT_FILE: lines of "request|response KEY VERSION HEX", the frame without its size, sorted at the end.
Connections with raw SASL tokens (SaslHandshake v0) are passed on unread."""

import asyncio
import os
import signal
import sys

PER_KIND = 3  # frames kept of one API, version and direction
BYTES_MAX = 1500  # longer frames teach nothing that shorter ones do not


class Store:
    def __init__(self, path):
        self.path = path
        self.kept = {}  # (key, version, kind) -> {length: hex}
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                for line in f:
                    if not line.startswith("#"):
                        kind, key, version, text = line.split()
                        self.add(int(key), int(version), kind, bytes.fromhex(text))

    def add(self, key, version, kind, frame):
        kept = self.kept.setdefault((key, version, kind), {})
        if len(frame) <= BYTES_MAX and len(kept) < PER_KIND:
            kept.setdefault(len(frame), frame.hex())

    def save(self):
        with open(self.path, "w", encoding="ascii") as f:
            f.write("# Frames between real clients and Apache Kafka 3.9.1; see README.md\n")
            for (key, version, kind), kept in sorted(self.kept.items()):
                for length in sorted(kept):
                    f.write("%s %d %d %s\n" % (kind, key, version, kept[length]))


async def frames(reader):
    """The frames of one direction, without their sizes."""
    while True:
        try:
            size = int.from_bytes(await reader.readexactly(4), "big")
            yield await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return


async def pump(reader, writer, look):
    async for frame in frames(reader):
        look(frame)
        writer.write(len(frame).to_bytes(4, "big") + frame)
        try:
            await writer.drain()
        except ConnectionError:
            break
    writer.close()


async def serve(store, target, client_reader, client_writer):
    broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", target)
    waiting, raw = {}, False  # correlation id -> (key, version)

    def request(frame):
        nonlocal raw
        if raw:
            return
        key, version = (int.from_bytes(frame[i:i + 2], "big", signed=True) for i in (0, 2))
        waiting[frame[4:8]] = (key, version)
        raw = (key, version) == (17, 0)
        store.add(key, version, "request", frame)

    def response(frame):
        known = waiting.pop(frame[:4], None)
        if known:
            store.add(*known, "response", frame)

    await asyncio.gather(pump(client_reader, broker_writer, request),
                         pump(broker_reader, client_writer, response))


async def main(path, pairs):
    store = Store(path)
    for pair in pairs:
        listen, target = (int(p) for p in pair.split(":"))

        async def accept(r, w, target=target):
            await serve(store, target, r, w)

        await asyncio.start_server(accept, "127.0.0.1", listen)
    stop = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, stop.set)
    await stop.wait()
    store.save()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
