# SPDX-License-Identifier: Apache-2.0
"""Every message of the protocol in every version over a plain socket, by the definitions in common/protocol; and record batches by hand.

A message is a dict with the names of the .kmsg files in snake case; what is left out has its default."""
import pathlib
import socket
import struct
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "protocol"))
import gen  # noqa: E402

PLAIN = {"bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "float64": "d"}
NO_ID = uuid.UUID(int=0)


def _load():
    found = []
    for path in sorted(pathlib.Path(gen.__file__).parent.glob("*.kmsg")):
        gen.parse_file(path, found)
    for message in found:
        gen.resolve(message)
    return {m.name: m for m in found}


MESSAGES = _load()
REQUESTS = {m.key: m for m in MESSAGES.values() if m.kind == "request"}
KEYS = {m.name[:-len("Request")]: m.key for m in REQUESTS.values()}


def uvarint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def varint(n):
    return uvarint(n << 1 if n >= 0 else (-n << 1) - 1)


# ---------------------------------------------------------------- encoding

def encode(name, version, values=()):
    message = MESSAGES[name]
    return _put_struct(message, version, version >= message.flexible, dict(values))


def _default(f):
    if f.default_null:
        return None
    if f.array:
        return []
    if f.struct:
        return None if f.pointer else {}
    if f.default is not None:
        return f.default == "true" if f.type == "bool" else int(f.default, 0)
    return {"string": "", "bytes": b"", "records": b"", "uuid": NO_ID, "bool": False}.get(f.type, 0)


def _length(n, flexible, width):
    return uvarint(n + 1) if flexible else struct.pack(">h" if width == 2 else ">i", n)


def _put_one(f, version, flexible, x):
    if f.struct:
        return _put_struct(f.struct, version, flexible, x)
    if f.type == "string":
        x = x.encode() if isinstance(x, str) else x
        return _length(-1 if x is None else len(x), flexible and not f.plain, 2) + (x or b"")
    if f.type in ("bytes", "records"):
        return _length(-1 if x is None else len(x), flexible, 4) + (x or b"")
    if f.type == "uuid":
        return x.bytes
    return struct.pack(">" + PLAIN[f.type], x)


def _put(f, version, flexible, x):
    if f.array:
        return _length(-1 if x is None else len(x), flexible, 4) + b"".join(_put_one(f, version, flexible, e) for e in x or ())
    if f.pointer and f.can_be_null(version):
        return b"\xff" if x is None else b"\x01" + _put_struct(f.struct, version, flexible, x)
    return _put_one(f, version, flexible, x)


def _put_struct(s, version, flexible, values):
    unknown = set(values) - {f.member for f in s.fields} - {"_tags"}
    assert not unknown, f"{s.name} has no {unknown}"
    out, tags = b"", list(values.get("_tags", ()))
    for f in s.fields:
        if not f.has(version):
            continue
        x = values.get(f.member, _default(f))
        if f.tag is None:
            out += _put(f, version, flexible, x)
        elif f.member in values:
            tags.append((f.tag, _put(f, version, flexible, x)))
    if flexible:
        out += uvarint(len(tags)) + b"".join(uvarint(t) + uvarint(len(data)) + data for t, data in tags)
    return out


# ---------------------------------------------------------------- decoding

class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), "the answer ends too early"
        self.at += n
        return self.data[self.at - n:self.at]

    def uvarint(self):
        n = shift = 0
        while True:
            (b,) = self.take(1)
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    def length(self, flexible, width):
        if flexible:
            return self.uvarint() - 1
        return struct.unpack(">h" if width == 2 else ">i", self.take(width))[0]


def decode(name, version, data):
    r = _Reader(data)
    message = MESSAGES[name]
    values = _get_struct(r, message, version, version >= message.flexible)
    assert r.at == len(data), f"{name} {version}: {len(data) - r.at} bytes left over"
    return values


def _get_one(r, f, version, flexible):
    if f.struct:
        return _get_struct(r, f.struct, version, flexible)
    if f.type in ("string", "bytes", "records"):
        n = r.length(flexible and not f.plain, 2 if f.type == "string" else 4)
        if n < 0:
            return None
        return r.take(n).decode(errors="replace") if f.type == "string" else r.take(n)
    if f.type == "uuid":
        return uuid.UUID(bytes=r.take(16))
    return struct.unpack(">" + PLAIN[f.type], r.take(struct.calcsize(">" + PLAIN[f.type])))[0]


def _get(r, f, version, flexible):
    if f.array:
        n = r.length(flexible, 4)
        return None if n < 0 else [_get_one(r, f, version, flexible) for _ in range(n)]
    if f.pointer and f.can_be_null(version) and struct.unpack("b", r.take(1))[0] < 0:
        return None
    return _get_one(r, f, version, flexible)


def _get_struct(r, s, version, flexible):
    values, tagged = {}, {}
    for f in s.fields:
        if not f.has(version):
            continue
        if f.tag is None:
            values[f.member] = _get(r, f, version, flexible)
        else:
            tagged[f.tag] = f
    for _ in range(r.uvarint() if flexible else 0):
        tag, size = r.uvarint(), r.uvarint()
        if tag in tagged:
            values[tagged[tag].member] = _get(r, tagged[tag], version, flexible)
        else:
            r.take(size)
    return values


# ---------------------------------------------------------------- a connection

class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Peer:
    """A connection to one broker; address: "host:port" or a Broker of cluster.py."""

    def __init__(self, address, timeout=30):
        address = getattr(address, "address", address)
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.last_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def header(self, key, version, client_id=b"wire", tags=()):
        self.last_id += 1
        flexible = key in REQUESTS and version >= REQUESTS[key].flexible
        head = struct.pack(">hhi", key, version, self.last_id) + (struct.pack(">h", -1) if client_id is None else
                                                                  struct.pack(">h", len(client_id)) + client_id)
        if flexible:
            head += uvarint(len(tags)) + b"".join(uvarint(t) + uvarint(len(d)) + d for t, d in tags)
        return head

    def send(self, frame):
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                part = self.socket.recv(n - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise Closed()
            data += part
        return data

    def receive_any(self):
        """The next answer, whatever it answers."""
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def receive(self):
        """The answer's bytes behind the correlation id, which must be the last request's."""
        frame = self.receive_any()
        assert struct.unpack(">i", frame[:4])[0] == self.last_id
        return frame[4:]

    def answer(self, api, version):
        data = self.receive()
        request, response = MESSAGES[api + "Request"], MESSAGES[api + "Response"]
        if version >= request.flexible and api != "ApiVersions":
            assert data[:1] == b"\0", "tagged fields in the header of an answer"
            data = data[1:]
        return decode(response.name, version, data)

    def call(self, api, version, values=(), client_id=b"wire", tail=b"", header_tags=()):
        """Raises Closed. tail: bytes behind the request."""
        return self.call_raw(api, version, encode(api + "Request", version, values) + tail, client_id, header_tags)

    def call_raw(self, api, version, body, client_id=b"wire", header_tags=()):
        self.send(self.header(KEYS[api], version, client_id, header_tags) + body)
        return self.answer(api, version)

    def produce(self, topic, records, version=9, partition=0, acks=-1, **more):
        """The answer for the one partition."""
        a = self.call("Produce", version, {"transactional_id": None, "acks": acks, "timeout_ms": 20000, "topic_data": [
            {"name": topic, "partition_data": [{"index": partition, "records": records}]}], **more})
        return a["responses"][0]["partition_responses"][0]

    def end_offset(self, topic, partition=0):
        a = self.call("ListOffsets", 1, {"replica_id": -1, "topics": [
            {"name": topic, "partitions": [{"partition_index": partition, "timestamp": -1}]}]})
        return a["topics"][0]["partitions"][0]["offset"]


# ---------------------------------------------------------------- record batches

def _table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


_CRC = _table()


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c = _CRC[(c ^ b) & 255] ^ (c >> 8)
    return c ^ 0xFFFFFFFF


def field(x):
    return varint(-1) if x is None else varint(len(x)) + x


def record(delta, key=None, value=b"v", timestamp=0, headers=(), attributes=0):
    body = bytes([attributes]) + varint(timestamp) + varint(delta) + field(key) + field(value)
    body += varint(len(headers)) + b"".join(field(k) + field(v) for k, v in headers)
    return varint(len(body)) + body


def batch(records, attributes=0, base_timestamp=None, max_timestamp=None, count=None, last=None, producer=(-1, -1, -1), base=0,
          payload=None, epoch=-1, magic=2, crc=None):
    """records: encoded ones. payload: what stands in their place, compressed for instance."""
    now = int(time.time() * 1000) if base_timestamp is None else base_timestamp
    count = len(records) if count is None else count
    tail = struct.pack(">hiqqqhii", attributes, count - 1 if last is None else last, now, now if max_timestamp is None else max_timestamp,
                       *producer, count) + (b"".join(records) if payload is None else payload)
    rest = struct.pack(">ibI", epoch, magic, crc32c(tail) if crc is None else crc) + tail
    return struct.pack(">qi", base, len(rest)) + rest
