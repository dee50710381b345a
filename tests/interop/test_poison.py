# SPDX-License-Identifier: Apache-2.0
"""Batches that are odd or broken, produced to Kafka 3.9 and to kafuka: both take a batch or both refuse it, and nothing of a refused one is
stored. Where the two differ on purpose, the row says so."""
import struct
import subprocess
import time
import zlib

import pytest
from both import JARS, Both  # first: it makes tests/cluster known

import compressed
from compressed import GZIP, LZ4, SNAPPY, ZSTD
from wire import batch, field, record, uvarint, varint

NOW = int(time.time() * 1000)
RECORDS = [record(i, b"k%d" % i, b"value %d" % i) for i in range(4)]
PLAIN = b"".join(RECORDS)
HALVES = [PLAIN[:30], PLAIN[30:]]


def packed(codec, payload, records=RECORDS, **more):
    return batch(records, attributes=codec, payload=payload, **more)


def lz4(*args, **options):
    return packed(LZ4, compressed.lz4(HALVES, **options))


def one(body, count=1):
    """A batch of one record with this body; each is wrong in one place."""
    return batch([varint(len(body)) + body], count=count)


def packed_one(body, codec=GZIP):
    r = varint(len(body)) + body
    return batch([r], attributes=codec, payload=compressed.gzip(r))


def body(attributes=b"\0", timestamp=varint(0), offset=varint(0), key=field(b"k"), value=field(b"v"), headers=varint(0)):
    return attributes + timestamp + offset + key + value + headers


def message(magic, attributes, value, key=b"k", timestamp=NOW, crc=None, offset=0):
    """A message of format 0 or 1."""
    rest = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp) if magic else b"")
    for x in (key, value):
        rest += struct.pack(">i", -1) if x is None else struct.pack(">i", len(x)) + x
    rest = struct.pack(">I", zlib.crc32(rest) if crc is None else crc) + rest
    return struct.pack(">qi", offset, len(rest)) + rest


def wrapped(magic, codec, pack, inner=None):
    inner = b"".join(message(magic, 0, b"v%d" % i, offset=i) for i in range(3)) if inner is None else inner
    return message(magic, codec, pack(inner), key=None)


def snappy_raw(data):
    return compressed.snappy_block(data)


GZ, SN, ZS = compressed.gzip(PLAIN), compressed.snappy(HALVES), compressed.zstd(HALVES)
GOOD = batch(RECORDS)

# name: (the bytes, Produce version)
CASES = {
    # LZ4: KafkaLZ4BlockInputStream
    "lz4": (lz4(), 9),
    "lz4 compressed blocks": (lz4(compress=True), 9),
    "lz4 linked blocks": (lz4(flags=0x40), 9),
    "lz4 version 0": (lz4(flags=0x20), 9),
    "lz4 version 2": (lz4(flags=0xA0), 9),
    "lz4 reserved flag": (lz4(flags=0x62), 9),
    "lz4 dictionary flag": (lz4(flags=0x61), 9),
    "lz4 block size id 3": (lz4(block_size=0x30), 9),
    "lz4 block size id 0": (lz4(block_size=0x00), 9),
    "lz4 block size id 7": (lz4(block_size=0x70), 9),
    "lz4 reserved bit of the block size": (lz4(block_size=0xC0), 9),
    "lz4 reserved low bits of the block size": (lz4(block_size=0x41), 9),
    "lz4 wrong header checksum": (lz4(header_checksum=0), 9),
    "lz4 header checksum of magic 0": (lz4(old_checksum=True), 9),
    "lz4 wrong magic": (lz4(magic=0x184D2203), 9),
    "lz4 content size": (lz4(content_size=True), 9),
    "lz4 wrong content size": (lz4(content_size=7), 9),
    "lz4 content checksum": (lz4(content_checksum=True), 9),
    "lz4 wrong content checksum": (lz4(content_checksum=1), 9),
    "lz4 block checksum": (lz4(block_checksum=True), 9),
    "lz4 compressed blocks with checksum": (lz4(block_checksum=True, compress=True), 9),
    "lz4 wrong block checksum": (lz4(block_checksum=1), 9),
    "lz4 no end mark": (lz4(end=b""), 9),
    "lz4 half an end mark": (lz4(end=b"\0\0"), 9),
    "lz4 content checksum missing": (packed(LZ4, compressed.lz4(HALVES, content_checksum=True)[:-4]), 9),
    "lz4 bytes behind the end": (lz4(end=b"\0\0\0\0garbage"), 9),
    "lz4 a second frame behind": (packed(LZ4, compressed.lz4([PLAIN]) * 2), 9),
    "lz4 a frame split in two": (packed(LZ4, compressed.lz4([HALVES[0]]) + compressed.lz4([HALVES[1]])), 9),
    "lz4 an empty block is the end": (packed(LZ4, compressed.lz4([PLAIN, b"x"]).replace(b"\x01\0\0\x80x", b"\0\0\0\0")), 9),
    "lz4 an empty stored block": (packed(LZ4, compressed.lz4([HALVES[0], b"", HALVES[1]])), 9),
    "lz4 a block above the frame's size": (packed(LZ4, compressed.lz4([record(0, b"k", b"x" * 70000)]), RECORDS[:1]), 9),
    "lz4 a large block": (packed(LZ4, compressed.lz4([record(0, b"k", b"x" * 70000)], block_size=0x50), RECORDS[:1]), 9),
    "lz4 unfolds above the frame's size": (packed(LZ4, compressed.lz4([b"" + record(0, b"k", b"x" * 70000)], compress=True), RECORDS[:1]), 9),
    "lz4 cut in a block": (packed(LZ4, compressed.lz4(HALVES)[:-20]), 9),
    "lz4 cut in the header": (packed(LZ4, compressed.lz4(HALVES)[:6]), 9),
    "lz4 nothing": (packed(LZ4, b""), 9),
    "lz4 a damaged block": (packed(LZ4, compressed.lz4([b""], compress=True).replace(b"\x01\0\0\0\0", b"\x03\0\0\0\xf0\xff\xff")), 9),
    # gzip: java.util.zip.GZIPInputStream
    "gzip": (packed(GZIP, GZ), 9),
    "gzip two members": (packed(GZIP, compressed.gzip(HALVES[0]) + compressed.gzip(HALVES[1])), 9),
    "gzip garbage behind": (packed(GZIP, GZ + b"garbage"), 9),
    "gzip 30 bytes of garbage behind": (packed(GZIP, GZ + b"g" * 30), 9),
    "gzip a cut member behind": (packed(GZIP, GZ + compressed.gzip(b"more")[:18]), 9),
    "gzip a longer cut member behind": (packed(GZIP, GZ + compressed.gzip(bytes(range(100)))[:60]), 9),
    "gzip more records than declared": (packed(GZIP, GZ + compressed.gzip(RECORDS[0])), 9),
    "gzip an empty member behind": (packed(GZIP, GZ + compressed.gzip(b"")), 9),
    "gzip wrong crc": (packed(GZIP, GZ[:-8] + b"\0\0\0\0" + GZ[-4:]), 9),
    "gzip wrong length": (packed(GZIP, GZ[:-1] + b"\x01"), 9),
    "gzip no trailer": (packed(GZIP, GZ[:-8]), 9),
    "gzip cut": (packed(GZIP, GZ[:30]), 9),
    "gzip nothing": (packed(GZIP, b""), 9),
    "gzip zlib's own format": (packed(GZIP, zlib.compress(PLAIN)), 9),
    "gzip another method": (packed(GZIP, GZ[:2] + b"\x09" + GZ[3:]), 9),
    "gzip a name in the header": (packed(GZIP, GZ[:3] + b"\x08" + GZ[4:10] + b"name\0" + GZ[10:]), 9),
    # snappy: org.xerial.snappy.SnappyInputStream
    "snappy": (packed(SNAPPY, SN), 9),
    "snappy raw": (packed(SNAPPY, snappy_raw(PLAIN)), 9),
    "snappy raw with bytes behind": (packed(SNAPPY, snappy_raw(PLAIN) + b"x"), 9),
    "snappy version 0": (packed(SNAPPY, compressed.snappy(HALVES, version=0, compatible=0)), 9),
    "snappy version -1": (packed(SNAPPY, compressed.snappy(HALVES, version=-1, compatible=-1)), 9),
    "snappy version 9": (packed(SNAPPY, compressed.snappy(HALVES, version=9, compatible=9)), 9),
    "snappy wrong magic": (packed(SNAPPY, compressed.snappy(HALVES, magic=b"\x82SNAPPX\0")), 9),
    "snappy three bytes behind": (packed(SNAPPY, SN + b"\0\0\1"), 9),
    "snappy four bytes of nothing behind": (packed(SNAPPY, SN + b"\0\0\0\0"), 9),
    "snappy a negative block": (packed(SNAPPY, SN + b"\xff\xff\xff\xff"), 9),
    "snappy a block that is cut": (packed(SNAPPY, SN + b"\0\0\0\x09abc"), 9),
    "snappy a frame split in two": (packed(SNAPPY, compressed.snappy([HALVES[0]]) + compressed.snappy([HALVES[1]])), 9),
    "snappy two headers": (packed(SNAPPY, SN[:16] + SN), 9),
    "snappy a cut header behind": (packed(SNAPPY, SN + SN[:10]), 9),
    "snappy an empty block": (packed(SNAPPY, compressed.snappy([HALVES[0], b"", HALVES[1]])), 9),
    "snappy a damaged block": (packed(SNAPPY, SN[:22] + b"\xff" + SN[23:]), 9),
    "snappy a frame's header alone": (packed(SNAPPY, SN[:16]), 9),
    "snappy nothing": (packed(SNAPPY, b""), 9),
    # zstd
    "zstd": (packed(ZSTD, ZS), 9),
    "zstd in Produce 6": (packed(ZSTD, ZS), 6),
    "zstd wrong checksum": (packed(ZSTD, compressed.zstd(HALVES, checksum=1)), 9),
    "zstd checksum missing": (packed(ZSTD, compressed.zstd(HALVES, checksum=1)[:-4]), 9),
    "zstd garbage behind": (packed(ZSTD, ZS + b"garbage"), 9),
    "zstd one byte behind": (packed(ZSTD, ZS + b"g"), 9),
    "zstd cut": (packed(ZSTD, ZS[:-5]), 9),
    "zstd two frames": (packed(ZSTD, compressed.zstd([HALVES[0]]) + compressed.zstd([HALVES[1]])), 9),
    "zstd a skippable frame": (packed(ZSTD, compressed.zstd_skippable(b"xyz") + ZS), 9),
    "zstd a skippable frame behind": (packed(ZSTD, ZS + compressed.zstd_skippable(b"xyz")), 9),
    "zstd a window of 128 MiB": (packed(ZSTD, compressed.zstd(HALVES, window=0x88)), 9),
    "zstd a window above 128 MiB": (packed(ZSTD, compressed.zstd(HALVES, window=0x89)), 9),
    "zstd nothing": (packed(ZSTD, b""), 9),
    "codec 5": (batch(RECORDS, attributes=5), 9),
    "codec 7": (batch(RECORDS, attributes=7), 9),
    # the batch
    "plain": (GOOD, 9),
    "bytes behind the batch": (GOOD + b"\0\0\0", 9),
    "half a batch behind": (GOOD + GOOD[:40], 9),
    "a second batch": (GOOD + GOOD, 9),
    "17 bytes that are no batch behind": (GOOD + b"\0" * 17, 9),
    "17 bytes of another magic behind": (GOOD + b"\0" * 8 + struct.pack(">i", 60) + b"\0" * 4 + b"\x07", 9),
    "cut": (GOOD[:-1], 9),
    "cut in the header": (GOOD[:30], 9),
    "a few bytes": (b"\0\0\0", 9),
    "nothing": (b"", 9),
    "null": (None, 9),
    "magic 3": (batch(RECORDS, magic=3), 9),
    "magic -1": (batch(RECORDS, magic=-1), 9),
    "wrong crc": (batch(RECORDS, crc=1), 9),
    "base offset 1": (batch(RECORDS, base=1), 9),
    "base offset -1": (batch(RECORDS, base=-1), 9),
    "no records": (batch([]), 9),
    "no records, last offset 0": (batch([], last=0), 9),
    "count -1": (batch(RECORDS, count=-1, last=3), 9),
    "count too low": (batch(RECORDS, count=3), 9),
    "count too high": (batch(RECORDS, count=5), 9),
    "count and last offset disagree": (batch(RECORDS, last=4), 9),
    "last offset negative": (batch(RECORDS, last=-2), 9),
    "control batch": (batch([record(0, b"\0\0\0\1", b"\0\0\0\0\0\0")], attributes=0x20), 9),
    "unused attribute bits": (batch(RECORDS, attributes=0xFF80 - 65536), 9),
    "delete horizon": (batch(RECORDS, attributes=0x40), 9),
    "leader epoch 5": (batch(RECORDS, epoch=5), 9),
    "a producer without epoch": (batch(RECORDS, producer=(700, -1, 0)), 9),
    "a producer without sequence": (batch(RECORDS, producer=(701, 0, -1)), 9),
    "a producer of any id": (batch(RECORDS, producer=(702, 0, 0)), 9),
    "a producer of any epoch": (batch(RECORDS, producer=(703, 9, 0)), 9),
    "a producer that begins at 5": (batch(RECORDS, producer=(704, 0, 5)), 9),
    "producer -2": (batch(RECORDS, producer=(-2, 0, 0)), 9),
    "sequence without producer": (batch(RECORDS, producer=(-1, 0, 0)), 9),
    "LogAppendTime": (batch(RECORDS, attributes=8), 9),
    "a base timestamp of -1": (batch(RECORDS, base_timestamp=-1), 9),
    "a base timestamp of -5": (batch(RECORDS, base_timestamp=-5), 9),
    "a wrong max timestamp": (batch(RECORDS, max_timestamp=5), 9),
    "a timestamp far ahead": (batch(RECORDS, base_timestamp=1 << 60), 9),
    # its records, plain and compressed
    "offsets that do not begin at 0": (batch([record(i + 3) for i in range(2)]), 9),
    "the same offset twice": (batch([record(0), record(0)]), 9),
    "gzip offsets that do not begin at 0": (packed(GZIP, compressed.gzip(record(3) + record(4)), RECORDS[:2]), 9),
    "gzip the same offset twice": (packed(GZIP, compressed.gzip(record(0) + record(0)), RECORDS[:2]), 9),
    "gzip falling offsets": (packed(GZIP, compressed.gzip(record(1) + record(0)), RECORDS[:2]), 9),
    "gzip too few records": (packed(GZIP, compressed.gzip(RECORDS[0]), RECORDS), 9),
    "gzip too many records": (packed(GZIP, GZ, RECORDS[:3]), 9),
    "gzip bytes behind the records": (packed(GZIP, compressed.gzip(PLAIN + b"\0"), RECORDS), 9),
    "plain bytes behind the records": (batch(RECORDS, payload=PLAIN + b"\0"), 9),
}
BODIES = {
    "a record": body(),
    "record attributes": body(attributes=b"\xff"),
    "null key and value": body(key=varint(-1), value=varint(-1)),
    "a key of length -2": body(key=varint(-2)),
    "a value of length -2": body(value=varint(-2)),
    "a key beyond the record": body(key=varint(100) + b"k"),
    "a value beyond the record": body(value=varint(100) + b"v"),
    "a header": body(headers=varint(1) + field(b"h") + field(b"x")),
    "a header without value": body(headers=varint(1) + field(b"h") + varint(-1)),
    "a header's value of length -2": body(headers=varint(1) + field(b"h") + varint(-2)),
    "an empty header key": body(headers=varint(1) + field(b"") + field(b"x")),
    "a null header key": body(headers=varint(1) + varint(-1) + field(b"x")),
    "a header key of length -2": body(headers=varint(1) + varint(-2) + field(b"x")),
    "a header key that is no UTF-8": body(headers=varint(1) + field(b"\xff\xfe") + field(b"x")),
    "the same header twice": body(headers=varint(2) + (field(b"h") + field(b"x")) * 2),
    "-1 headers": body(headers=varint(-1)),
    "more headers than there are": body(headers=varint(2) + field(b"h") + field(b"x")),
    "fewer headers than there are": body(headers=varint(0) + field(b"h") + field(b"x")),
    "a million headers": body(headers=varint(1000000)),
    "no header count": body(headers=b""),
    "a byte behind": body() + b"\0",
    "an overlong varint of five bytes": body(key=b"\x82\x80\x80\x80\x00k"),
    "a varint of six bytes": body(key=b"\x82\x80\x80\x80\x80\x00k"),
    "a varint with bits above 32": body(key=b"\x82\x80\x80\x80\x70k"),
    "an offset of six bytes": body(offset=b"\x80\x80\x80\x80\x80\x00"),
    "a timestamp of ten bytes": body(timestamp=b"\x80" * 9 + b"\x01"),
    "a timestamp with bits above 64": body(timestamp=b"\x80" * 9 + b"\x7e"),
    "a timestamp of eleven bytes": body(timestamp=b"\x80" * 10 + b"\x00"),
    "a header count of six bytes": body(headers=b"\x80\x80\x80\x80\x80\x00"),
}
for name, b in BODIES.items():
    CASES[f"plain record: {name}"] = (one(b), 9)
    CASES[f"gzip record: {name}"] = (packed_one(b), 9)
for name, r in {"length 0": varint(0), "length -1": varint(-1) + body(), "length beyond the batch": varint(1000) + body(),
                "length too short": varint(len(body()) - 1) + body(), "length too long": varint(len(body()) + 1) + body(),
                "an overlong length": uvarint(len(body()) * 2 | 128 | 1 << 30)[:-1] + b"\x00" + body(),
                "a length of six bytes": bytes([len(body()) * 2 | 128]) + b"\x80" * 4 + b"\x00" + body(),
                "a length of five bytes": bytes([len(body()) * 2 | 128]) + b"\x80" * 3 + b"\x00" + body()}.items():
    CASES[f"plain record: {name}"] = (batch([r]), 9)
    CASES[f"gzip record: {name}"] = (packed(GZIP, compressed.gzip(r), [r]), 9)
for magic in (0, 1):
    m = message(magic, 0, b"v")
    codecs = {"gzip": (GZIP, compressed.gzip), "snappy": (SNAPPY, lambda d: compressed.snappy([d])), "raw snappy": (SNAPPY, snappy_raw),
              "lz4": (LZ4, lambda d: compressed.lz4([d])), "lz4 old checksum": (LZ4, lambda d: compressed.lz4([d], old_checksum=True)),
              "lz4 checksum 0": (LZ4, lambda d: compressed.lz4([d], header_checksum=0)),
              "lz4 linked": (LZ4, lambda d: compressed.lz4([d], flags=0x40)), "zstd": (ZSTD, lambda d: compressed.zstd([d])),
              "lz4 content size": (LZ4, lambda d: compressed.lz4([d], content_size=True))}
    for name, (codec, pack) in codecs.items():
        CASES[f"format {magic}: {name}"] = (wrapped(magic, codec, pack), 2)
    CASES.update({
        f"format {magic}: plain": (m + m, 2),
        f"format {magic}: in Produce 3": (m, 3),
        f"format {magic}: wrong crc": (message(magic, 0, b"v", crc=1), 2),
        f"format {magic}: null value in a wrapper": (message(magic, GZIP, None), 2),
        f"format {magic}: a wrapper of nothing": (wrapped(magic, GZIP, compressed.gzip, b""), 2),
        f"format {magic}: a wrapper of half a message": (wrapped(magic, GZIP, compressed.gzip, m + m[:20]), 2),
        f"format {magic}: a wrapper in a wrapper": (wrapped(magic, GZIP, compressed.gzip, wrapped(magic, GZIP, compressed.gzip)), 2),
        f"format {magic}: the other format in a wrapper": (wrapped(magic, GZIP, compressed.gzip, message(1 - magic, 0, b"v")), 2),
        f"format {magic}: wrong crc in a wrapper": (wrapped(magic, GZIP, compressed.gzip, message(magic, 0, b"v", crc=1)), 2),
        f"format {magic}: two wrappers": (wrapped(magic, GZIP, compressed.gzip) * 2, 2),
        f"format {magic}: a message and a wrapper": (m + wrapped(magic, GZIP, compressed.gzip), 2),
        f"format {magic}: codec 5": (message(magic, 5, b"v"), 2),
        f"format {magic}: a key beyond the message": (message(magic, 0, b"v").replace(b"\0\0\0\1k", b"\0\0\1\1k"), 2),
        f"format {magic}: the other format behind": (m + message(1 - magic, 0, b"v"), 2),
        f"format {magic}: a batch behind": (m + GOOD, 2),
        f"format {magic}: attributes": (message(magic, 0xF0 - 256, b"v"), 2),
        f"format {magic}: append time": (message(magic, 8, b"v"), 2),
    })
CASES.update({
    "format 1: a timestamp of -1": (message(1, 0, b"v", timestamp=-1), 2),
    "format 1: a timestamp of -2": (message(1, 0, b"v", timestamp=-2), 2),
    "a batch in Produce 2": (GOOD, 2),
    "two batches in Produce 2": (GOOD + GOOD, 2),
    "nothing in Produce 2": (b"", 2),
    "null in Produce 2": (None, 2),
})
CASES["lz4 an empty compressed block"] = (packed(LZ4, compressed.lz4([HALVES[0], b"", HALVES[1]], compress=True)), 9)
CASES["lz4 an empty compressed block behind"] = (packed(LZ4, compressed.lz4([PLAIN, b""], compress=True, end=b"")), 9)

TOPICS = {"as-it-came": {}, "recompressed": {"compression_type": "lz4"}, "stamped": {"message_timestamp_type": "LogAppendTime"}}
RECORD_LENGTH = "Kafka's broker does not compare a record's length with its fields where it keeps the batch; its consumers then cannot read it"
REORDERED = "Kafka fails on it (UNKNOWN_SERVER_ERROR) where it keeps the codec, and renumbers the records where it does not; we always renumber"
HALF = "Kafka drops the half message and acknowledges the set"
NOBODY = "no client sends it, and Kafka itself fails on it where it recompresses"
# where Kafka takes a batch and we do not, or the other way round, and why
DIFFERENCES = {
    "a producer without epoch": NOBODY,
    "a base timestamp of -5": "Kafka fails on it where it recompresses",
    "gzip offsets that do not begin at 0": REORDERED,
    "gzip the same offset twice": REORDERED,
    "gzip falling offsets": REORDERED,
    "gzip record: length -1": RECORD_LENGTH,
    "gzip record: length beyond the batch": RECORD_LENGTH,
    "gzip record: length too short": RECORD_LENGTH,
    "gzip record: length too long": RECORD_LENGTH,
    "gzip record: an overlong length": RECORD_LENGTH,
    "lz4 an empty compressed block": "Kafka's broker reads on behind it, its consumers do not",
    "format 0: a wrapper of half a message": HALF,
    "format 1: a wrapper of half a message": HALF,
    "format 1: append time": "Kafka refuses it in a topic with LogAppendTime; we stamp it",
    "null": "Kafka never answers",
    "null in Produce 2": "Kafka never answers",
}
UNKNOWN_SERVER_ERROR = -1  # what Kafka says of most that it cannot decode; ours says INVALID_RECORD and the like, with a text


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    b = Both(tmp_path_factory.mktemp("both"))
    try:
        for name, configs in TOPICS.items():
            b.create_topic(name, **configs)
        b.create_topic("compacted", cleanup_policy="compact", message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=1000000)
        yield b
    finally:
        b.stop()


def outcome(c, topic, data, version):
    before = c.end_offset(topic)
    error = c.produce(topic, data, version)["error_code"]
    stored = c.end_offset(topic) - before
    assert stored == 0 or error == 0, f"refused with {error}, and yet {stored} records are stored"
    return ("taken", stored) if error == 0 else ("refused", error)


seen = set()


@pytest.mark.parametrize("topic", TOPICS)
def test_both_take_a_batch_or_both_refuse_it(both, topic):
    wrong = []
    for name, (data, version) in CASES.items():
        timeout = 3 if data is None else 30
        kafkas, ours = both.ask(lambda c: outcome(c, topic, data, version), timeout)
        same = kafkas == ours or (kafkas == ("refused", UNKNOWN_SERVER_ERROR) and ours[0] == "refused")
        if not same:
            seen.add(name)
        if not same and name not in DIFFERENCES:
            wrong.append(f"{name}: Kafka {kafkas}, kafuka {ours}")
    assert not wrong, "\n".join(wrong)


def test_every_difference_is_one():
    assert not set(DIFFERENCES) - seen


def test_kafkas_reader_reads_all_that_was_stored(both):
    files = [str(f) for topic in TOPICS for f in both.ours.brokers[0].data.glob(f"{topic}-0/*.log")]
    assert len(files) >= len(TOPICS)
    r = subprocess.run(["java", "-Xmx512m", "-cp", f"{JARS}/*", "kafka.tools.DumpLogSegments", "--print-data-log", "--files", ",".join(files)],
                       capture_output=True, text=True, timeout=180)
    assert r.returncode == 0 and "Exception" not in r.stderr, r.stderr[-3000:]
    assert r.stdout.count("| offset: ") > 300, r.stdout[-3000:]


def test_refused_records_are_named_as_kafka_names_them(both):
    """KIP-467. The texts are our own."""
    def records(*bad, without_key=(), timestamp=0):
        return [record(i, None if i in without_key else b"k", b"v", timestamp if i in bad else 0) for i in range(100)]

    cases = [batch(records(without_key=range(5, 100, 10))), batch(records(3, 4, 99, timestamp=-5000)),
             batch(records(3, 50, without_key=(3, 4), timestamp=-5000)), batch(records(0, timestamp=2000000))]
    cases += [packed(GZIP, compressed.gzip(b"".join(r)), r) for r in (records(without_key=range(5, 100, 10)), records(7, timestamp=-5000))]
    for data in cases:
        for version in (7, 8, 11):
            def ask(c):
                a = c.produce("compacted", data, version)
                errors = a.get("record_errors", [])
                assert version < 8 or all(e["batch_index_error_message"] for e in errors) and a["error_message"]
                return a["error_code"], [e["batch_index"] for e in errors]

            kafkas, ours = both.ask(ask)
            assert kafkas == ours and ours[0] != 0, (version, kafkas, ours)
