# SPDX-License-Identifier: Apache-2.0
"""For tests that send requests one by one: a plain connection that speaks kafka-python's messages."""
import io
import socket
import struct


class Connection:
    """One connection on which requests may also be sent ahead of their answers."""

    def __init__(self, broker):
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=30)
        self.next_id = 1

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, request):
        name = b"raw"
        head = struct.pack(">hhih", request.API_KEY, request.API_VERSION, self.next_id, len(name)) + name
        body = head + request.encode()
        self.socket.sendall(struct.pack(">i", len(body)) + body)
        self.next_id += 1
        return self.next_id - 1

    def _read(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise ConnectionError("closed by the broker")
            data += part
        return data

    def receive(self, request, correlation_id):
        (size,) = struct.unpack(">i", self._read(4))
        data = io.BytesIO(self._read(size))
        assert struct.unpack(">i", data.read(4))[0] == correlation_id
        response = request.RESPONSE_TYPE.decode(data)
        assert data.read() == b"", "bytes left over"
        return response

    def call(self, request):
        return self.receive(request, self.send(request))


class Xxh32:
    """Of fewer than 16 bytes: kafka-python needs a package for the old header checksum of LZ4 frames, which few have installed."""

    def __init__(self, data):
        m, h = 0xFFFFFFFF, 374761393 + len(data)
        words, rest = data[: len(data) // 4 * 4], data[len(data) // 4 * 4 :]
        for i in range(0, len(words), 4):
            h = (h + int.from_bytes(words[i : i + 4], "little") * 3266489917) & m
            h = ((h << 17 | h >> 15) & m) * 668265263 & m
        for byte in rest:
            h = (h + byte * 374761393) & m
            h = ((h << 11 | h >> 21) & m) * 2654435761 & m
        h = (h ^ h >> 15) * 2246822519 & m
        h = (h ^ h >> 13) * 3266489917 & m
        self.value = h ^ h >> 16

    def digest(self):
        return self.value.to_bytes(4, "big")


class Xxhash:
    """In the place of the package: for kafka.codec.xxhash."""

    xxh32 = Xxh32
