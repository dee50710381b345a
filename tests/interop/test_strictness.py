# SPDX-License-Identifier: Apache-2.0
"""Odd requests to Kafka 3.9 and to kafuka: both answer, with the same error codes, or both close the connection. What is only odd is answered
by both: we are as strict as Kafka, not stricter. Where the two differ on purpose, the table of differences says why."""
import random
import re
import struct
import uuid

import pytest
from both import Both, wait_until  # first: it makes tests/cluster known

from hostile import golden_requests
from wire import MESSAGES, Peer, batch, encode, record

SOME_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
LONG = "x" * 300


def last(api):
    return MESSAGES[api + "Request"].last


def codes(x):
    """Every error code of an answer, in order; what has a name is sorted."""
    if isinstance(x, dict) and "api_keys" in x:
        return [x["error_code"], len(x["api_keys"]) > 1]  # what is offered is compared elsewhere
    if isinstance(x, dict):
        return [v for k, v in x.items() if k == "error_code"] + [c for k, v in x.items() if isinstance(v, (dict, list)) for c in codes(v)]
    if isinstance(x, list):
        named = all(isinstance(e, dict) for e in x)
        return [codes(e) for e in (sorted(x, key=lambda e: str([v for k, v in e.items() if k != "error_message"])) if named else [])]
    return []


def ask(api, version=None, tail=b"", client_id=b"odd", header_tags=(), **values):
    """A question for Both.ask."""
    version = last(api) if version is None else version
    return lambda c: codes(c.call(api, version, values, client_id, tail, header_tags))


def raw(api, version, body, **more):
    return lambda c: codes(c.call_raw(api, version, body, **more))


def frame(data):
    """Bytes that are sent as a frame."""
    def question(c):
        c.send(data)
        c.receive_any()
        return "answered"
    return question


def naked(data):
    """Bytes without the length that belongs in front."""
    def question(c):
        c.socket.sendall(data)
        c.receive_any()
        return "answered"
    return question


CASES = {}


def case(name, question):
    assert name not in CASES, name
    CASES[name] = question


# ---------------------------------------------------------------- frames and headers
for n, size in (("0", 0), ("-1", -1), ("above the limit", 104857601), ("2 GiB", 0x7FFFFFFF)):
    case(f"a frame of length {n}", naked(struct.pack(">i", size) + (b"" if size <= 0 else b"x" * 20)))
for n in (1, 2, 4, 7, 8, 9, 10):
    case(f"a frame of {n} bytes", frame(struct.pack(">hhih", 3, 1, 0, 0)[:n]))
for name, client in (("null", None), ("empty", b""), ("long", b"c" * 32767), ("of no UTF-8", b"\xff\xfe\x80"), ("of odd characters", b"a b\"\n\0=")):
    for api, version in (("Metadata", 1), ("Metadata", 12), ("ApiVersions", 0), ("ApiVersions", 3), ("ListOffsets", 1)):
        values = {"client_software_name": "x", "client_software_version": "1"} if (api, version) == ("ApiVersions", 3) else {}
        case(f"{api} {version}: client id {name}", ask(api, version, client_id=client, **values))
for name, data in (("-2", b"\xff\xfe"), ("-32768", b"\x80\x00"), ("longer than the frame", b"\x00\x70abc")):
    case(f"a client id of length {name}", frame(struct.pack(">hhi", 3, 1, 0) + data + encode("MetadataRequest", 1)))
for name, tags in (("one", [(5, b"abc")]), ("twice the same", [(5, b"a"), (5, b"b")]), ("falling", [(7, b"a"), (5, b"b")]), ("two hundred", [(i, b"") for i in range(200)])):
    case(f"unknown tags in the header: {name}", ask("Metadata", 12, header_tags=tags))
    case(f"unknown tags in the body: {name}", ask("Metadata", 12, _tags=tags))
    case(f"unknown tags in an element: {name}", ask("Metadata", 12, topics=[{"name": "t", "_tags": tags}]))
case("a tag that ends behind the frame", raw("Metadata", 12, b"\x00\x01\x00\x01\x05\x7fabc"))
case("a count of tags without tags", raw("Metadata", 12, b"\x00\x01\x00\x02\x05\x01a"))
case("a count of tags of 2^32-1", raw("Metadata", 12, b"\x00\x01\x00\xff\xff\xff\xff\x0f"))
case("a known tag that says another size", raw("Fetch", 12, encode("FetchRequest", 12, {"replica_id": -1})[:-1] + b"\x01\x00\x09\x02c"))
case("a known tag twice", ask("Fetch", 12, replica_id=-1, _tags=[(0, b"\x02a"), (0, b"\x02b")]))
for api in ("Metadata", "ApiVersions", "FindCoordinator", "ListGroups", "DescribeCluster", "ListOffsets", "DescribeConfigs", "OffsetFetch", "Heartbeat"):
    for version in range(MESSAGES[api + "Request"].first, last(api) + 1):
        values = {"client_software_name": "x", "client_software_version": "1"} if api == "ApiVersions" and version >= 3 else {}
        if api == "OffsetFetch":
            values = {"groups": [{"group_id": "g", "topics": []}]} if version >= 8 else {"group_id": "g", "topics": []}
        if api == "Heartbeat" or (api == "OffsetFetch" and version == 0):
            continue
        case(f"{api} {version}: bytes behind", ask(api, version, tail=b"\0\0\0", **values))
for key, version in ((1000, 0), (-1, 0), (59, 0), (62, 0), (71, 0), (74, 0), (70, 0), (3, -1), (3, 13), (0, 12), (1, 18), (18, -1), (18, 5), (18, 99), (18, -32768), (22, 6)):
    case(f"key {key} version {version}", frame(struct.pack(">hhihb", key, version, 0, 0, 0)))
for name in ("", "a", "a b", "-a", "a-", "a.b-c", ".a", "ä", "a_b", "a" * 1000, "a\0"):
    for version in (3, 4):
        case(f"ApiVersions {version}: name {name[:9]!r}", ask("ApiVersions", version, client_software_name=name, client_software_version="1"))
        case(f"ApiVersions {version}: version {name[:9]!r}", ask("ApiVersions", version, client_software_name="x", client_software_version=name))

# ---------------------------------------------------------------- topics
NAMES = {"empty": "", "with a blank": "a b", "dot": ".", "two dots": "..", "long": LONG, "missing": "missing", "with a slash": "a/b", "there": "t"}
for what, name in NAMES.items():
    for version in (0, 1, 4, 9, 12):
        case(f"Metadata {version}: name {what}", ask("Metadata", version, topics=[{"name": name}]))
    case(f"Metadata: name {what}, to be created", ask("Metadata", 8, topics=[{"name": name}], allow_auto_topic_creation=True))
    case(f"Produce: name {what}", lambda c, n=name: c.produce(n, batch([record(0)]))["error_code"])
    case(f"ListOffsets: name {what}", ask("ListOffsets", 7, replica_id=-1, topics=[{"name": name, "partitions": [{"partition_index": 0, "timestamp": -1}]}]))
    case(f"Fetch: name {what}", ask("Fetch", 12, topics=[{"topic": name, "partitions": [{"partition": 0, "partition_max_bytes": 1000}]}]))
    case(f"OffsetForLeaderEpoch: name {what}", ask("OffsetForLeaderEpoch", 4, replica_id=-1, topics=[{"topic": name, "partitions": [{"partition": 0}]}]))
    case(f"CreatePartitions: name {what}", ask("CreatePartitions", 3, topics=[{"name": name, "count": 1, "assignments": None}], timeout_ms=9000))
    case(f"DeleteRecords: name {what}", ask("DeleteRecords", 2, topics=[{"name": name, "partitions": [{"partition_index": 0, "offset": 0}]}], timeout_ms=9000))
    case(f"DescribeConfigs: name {what}", ask("DescribeConfigs", 4, resources=[{"resource_type": 2, "resource_name": name, "configuration_keys": ["x"]}]))
    case(f"OffsetCommit: name {what}", ask("OffsetCommit", 8, group_id="g", generation_id_or_member_epoch=-1, topics=[
        {"name": name, "partitions": [{"partition_index": 0, "committed_offset": 5}]}]))
    case(f"OffsetFetch: name {what}", ask("OffsetFetch", 7, group_id="g", topics=[{"name": name, "partition_indexes": [0]}]))
    case(f"DescribeLogDirs: name {what}", lambda c, n=name: codes(c.call("DescribeLogDirs", 4, {"topics": [{"topic": n, "partitions": [0]}]})))
    if name != "t":
        case(f"DeleteTopics: name {what}", ask("DeleteTopics", 5, topic_names=[name], timeout_ms=9000))
for version in (0, 1, 9, 12):
    case(f"Metadata {version}: null topics", ask("Metadata", version, topics=None) if version else raw("Metadata", 0, b"\xff\xff\xff\xff"))
    case(f"Metadata {version}: no topics", ask("Metadata", version, topics=[]))
    case(f"Metadata {version}: a topic twice", ask("Metadata", version, topics=[{"name": "t"}, {"name": "t"}]))
for version in (10, 11, 12):
    case(f"Metadata {version}: no id and no name", ask("Metadata", version, topics=[{"name": None}]))
    case(f"Metadata {version}: an unknown id", ask("Metadata", version, topics=[{"name": None, "topic_id": SOME_ID}]))
    case(f"Metadata {version}: an id and a name", ask("Metadata", version, topics=[{"name": "t", "topic_id": SOME_ID}]))
    case(f"Metadata {version}: an id and another's name", ask("Metadata", version, topics=[{"name": None, "topic_id": SOME_ID}, {"name": "t"}]))
PARTITIONS = {"-1": -1, "7": 7, "the largest": 2**31 - 1, "the smallest": -2**31}
for what, p in PARTITIONS.items():
    case(f"Produce: partition {what}", lambda c, p=p: c.produce("t", batch([record(0)]), partition=p)["error_code"])
    case(f"ListOffsets: partition {what}", ask("ListOffsets", 7, replica_id=-1, topics=[{"name": "t", "partitions": [{"partition_index": p, "timestamp": -1}]}]))
    case(f"Fetch: partition {what}", ask("Fetch", 12, topics=[{"topic": "t", "partitions": [{"partition": p, "partition_max_bytes": 1000}]}]))
    case(f"OffsetCommit: partition {what}", ask("OffsetCommit", 8, group_id="g", generation_id_or_member_epoch=-1, topics=[
        {"name": "t", "partitions": [{"partition_index": p, "committed_offset": 5}]}]))
    case(f"DeleteRecords: partition {what}", ask("DeleteRecords", 2, topics=[{"name": "t", "partitions": [{"partition_index": p, "offset": 0}]}], timeout_ms=9000))

# ---------------------------------------------------------------- produce
for acks in (-3, -2, 2, 100, 1, -1):
    for version in (0, 3, 9, 11):
        data = batch([record(0)])
        case(f"Produce {version}: acks {acks}", lambda c, a=acks, v=version, d=data: c.produce("t", d, v, acks=a)["error_code"])
for t in (-1, 0, -2**31, 2**31 - 1):
    case(f"Produce: timeout {t}", ask("Produce", 9, transactional_id=None, acks=1, timeout_ms=t, topic_data=[
        {"name": "t", "partition_data": [{"index": 0, "records": batch([record(0)])}]}]))
ONE = {"index": 0, "records": batch([record(0)])}
for version in (2, 3, 9):
    for name, topics in (("no topics", []), ("no partitions", [{"name": "t", "partition_data": []}]), ("a partition twice", [{"name": "t", "partition_data": [ONE, ONE]}]),
                         ("a topic twice", [{"name": "t", "partition_data": [ONE]}, {"name": "t", "partition_data": [{**ONE, "index": 1}]}]),
                         ("a topic and partition twice", [{"name": "t", "partition_data": [ONE]}] * 2)):
        for acks in (1, -1):
            case(f"Produce {version}: acks {acks}, {name}", ask("Produce", version, acks=acks, timeout_ms=9000, topic_data=topics, **({"transactional_id": None} if version > 2 else {})))
for name, txn in (("empty", ""), ("some", "x")):
    case(f"Produce: plain records and a transactional id, {name}", ask("Produce", 9, transactional_id=txn, acks=1, timeout_ms=9000, topic_data=[{"name": "t", "partition_data": [ONE]}]))
case("Produce: to __consumer_offsets", lambda c: c.produce("__consumer_offsets", batch([record(0, b"k")]))["error_code"])

# ---------------------------------------------------------------- fetch and offsets
PART = {"partition": 0, "partition_max_bytes": 1000}


def fetch(version=12, part=(), **values):
    topic = {"topic": "t"} if version < 13 else {}
    return ask("Fetch", version, **{"replica_id": -1, "max_bytes": 100000, "topics": [{**topic, "partitions": [{**PART, **dict(part)}]}], **values}) if version < 15 else \
        ask("Fetch", version, **{"max_bytes": 100000, "topics": [{**topic, "partitions": [{**PART, **dict(part)}]}], **values})


for version in (4, 7, 11, 12):
    for name, more in (("max_wait -1", {"max_wait_ms": -1}), ("min_bytes -1", {"min_bytes": -1}), ("max_bytes 0", {"max_bytes": 0}), ("max_bytes -1", {"max_bytes": -1}),
                       ("isolation 7", {"isolation_level": 7}), ("isolation -1", {"isolation_level": -1}), ("replica -2", {"replica_id": -2}), ("replica 77", {"replica_id": 77}),
                       ("no topics", {"topics": []}), ("replica -77", {"replica_id": -77})):
        case(f"Fetch {version}: {name}", fetch(version, **more))
    for name, more in (("partition_max_bytes 0", {"partition_max_bytes": 0}), ("partition_max_bytes -1", {"partition_max_bytes": -1}), ("offset -1", {"fetch_offset": -1}),
                       ("offset -5", {"fetch_offset": -5}), ("offset 2^62", {"fetch_offset": 2**62})):
        case(f"Fetch {version}: {name}", fetch(version, more))
for version in (9, 11, 12):
    for epoch in (-2, -1, 0, 99):
        case(f"Fetch {version}: leader epoch {epoch}", fetch(version, {"current_leader_epoch": epoch}))
for epoch in (-2, -1, 0, 99):
    case(f"Fetch 12: last fetched epoch {epoch}", fetch(12, {"last_fetched_epoch": epoch}))
for version in (7, 12):
    for session, epoch in ((0, 0), (0, -1), (0, 1), (0, -5), (0, 7), (12345, 0), (12345, 1), (12345, -1), (12345, -5), (-1, 0), (-1, 1)):
        case(f"Fetch {version}: session {session}, epoch {epoch}", fetch(version, session_id=session, session_epoch=epoch))
    case(f"Fetch {version}: forgotten topics without session", fetch(version, forgotten_topics_data=[{"topic": "t", "partitions": [0, 5]}], session_epoch=-1))
    case(f"Fetch {version}: a partition twice", fetch(version, topics=[{"topic": "t", "partitions": [PART, PART]}], session_epoch=-1))
    case(f"Fetch {version}: a topic twice", fetch(version, topics=[{"topic": "t", "partitions": [PART]}] * 2, session_epoch=-1))
    case(f"Fetch {version}: no partitions", fetch(version, topics=[{"topic": "t", "partitions": []}], session_epoch=-1))
for version in (13, 15, 17):
    case(f"Fetch {version}: topic id 0", fetch(version))
    case(f"Fetch {version}: an unknown topic id", fetch(version, topics=[{"topic_id": SOME_ID, "partitions": [PART]}], session_epoch=-1))
    case(f"Fetch {version}: an unknown topic id in a session", fetch(version, topics=[{"topic_id": SOME_ID, "partitions": [PART]}]))
    case(f"Fetch {version}: another cluster's id", fetch(version, topics=[], cluster_id="x"))
case("Fetch 12: a cluster id", fetch(12, cluster_id="x"))
case("Fetch 11: a long rack", fetch(11, rack_id=LONG))
for r in (-1, -2, 77, -77):
    case(f"Fetch 15: replica {r} in its tag", fetch(15, topics=[], replica_state={"replica_id": r, "replica_epoch": -1}))
for version in (0, 1, 4, 7, 8, 9):
    for ts in (-1, -2, -3, -4, -5, -6, -99, 0, 2**62, -2**63):
        part = {"partition_index": 0, "timestamp": ts, **({"max_num_offsets": 1} if version == 0 else {})}
        case(f"ListOffsets {version}: timestamp {ts}", ask("ListOffsets", version, replica_id=-1, topics=[{"name": "t", "partitions": [part]}]))
for version in (0, 7):
    part = {"partition_index": 0, "timestamp": -1, **({"max_num_offsets": 1} if version == 0 else {})}
    for r in (-2, -3, 77, 0):
        case(f"ListOffsets {version}: replica {r}", ask("ListOffsets", version, replica_id=r, topics=[{"name": "t", "partitions": [part]}]))
    case(f"ListOffsets {version}: a partition twice", ask("ListOffsets", version, replica_id=-1, topics=[{"name": "t", "partitions": [part, part]}]))
    case(f"ListOffsets {version}: a topic twice", ask("ListOffsets", version, replica_id=-1, topics=[{"name": "t", "partitions": [part]}] * 2))
for n in (0, -1, 2**31 - 1):
    case(f"ListOffsets 0: at most {n} offsets", ask("ListOffsets", 0, replica_id=-1, topics=[{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1, "max_num_offsets": n}]}]))
for level in (1, 2, 7, -1):
    case(f"ListOffsets 7: isolation {level}", ask("ListOffsets", 7, replica_id=-1, isolation_level=level, topics=[{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1}]}]))
for epoch in (-2, -1, 0, 99):
    case(f"ListOffsets 7: leader epoch {epoch}", ask("ListOffsets", 7, replica_id=-1, topics=[{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1, "current_leader_epoch": epoch}]}]))
    for version in (0, 3, 4):
        case(f"OffsetForLeaderEpoch {version}: epoch {epoch}", ask("OffsetForLeaderEpoch", version, topics=[{"topic": "t", "partitions": [{"partition": 0, "leader_epoch": epoch}]}]))
    case(f"OffsetForLeaderEpoch 4: current epoch {epoch}", ask("OffsetForLeaderEpoch", 4, topics=[{"topic": "t", "partitions": [{"partition": 0, "current_leader_epoch": epoch}]}]))
case("OffsetForLeaderEpoch: a partition twice", ask("OffsetForLeaderEpoch", 4, topics=[{"topic": "t", "partitions": [{"partition": 0}] * 2}]))
for r in (-1, 0, 77, -5):
    case(f"OffsetForLeaderEpoch: replica {r}", ask("OffsetForLeaderEpoch", 4, replica_id=r, topics=[{"topic": "t", "partitions": [{"partition": 0}]}]))
for offset in (-1, -2, 0, 2**40):
    case(f"DeleteRecords: offset {offset}", ask("DeleteRecords", 2, topics=[{"name": "u", "partitions": [{"partition_index": 0, "offset": offset}]}], timeout_ms=9000))
case("DeleteRecords: a partition twice", ask("DeleteRecords", 2, topics=[{"name": "u", "partitions": [{"partition_index": 0, "offset": 0}] * 2}], timeout_ms=9000))
case("DeleteRecords: timeout -1", ask("DeleteRecords", 2, topics=[{"name": "u", "partitions": [{"partition_index": 0, "offset": 0}]}], timeout_ms=-1))
case("DeleteRecords: no topics", ask("DeleteRecords", 2, topics=[], timeout_ms=9000))

# ---------------------------------------------------------------- groups
for version in (0, 1, 3):
    for key in ("", "g", LONG, "a/b", "ä"):
        case(f"FindCoordinator {version}: group {key[:9]!r}", ask("FindCoordinator", version, key=key))
for t in (2, 3, 9, -1):
    for version in (1, 3, 4, 6):
        case(f"FindCoordinator {version}: key type {t}", ask("FindCoordinator", version, key_type=t, **({"key": "g"} if version < 4 else {"coordinator_keys": ["g"]})))
for name, keys in (("none", []), ("twice", ["g", "g"]), ("empty", [""])):
    case(f"FindCoordinator 4: keys {name}", ask("FindCoordinator", 4, coordinator_keys=keys))
JOIN = {"group_id": "j", "session_timeout_ms": 10000, "rebalance_timeout_ms": 10000, "member_id": "", "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b""}]}
for name, more in (("group empty", {"group_id": ""}), ("session timeout 0", {"session_timeout_ms": 0}), ("session timeout -1", {"session_timeout_ms": -1}),
                   ("session timeout of a day", {"session_timeout_ms": 86400000}), ("member unknown", {"member_id": "x"}), ("no protocols", {"protocols": []}),
                   ("protocol type empty", {"protocol_type": ""}), ("group unknown, member unknown", {"group_id": "nowhere", "member_id": "x"}),
                   ("protocol name empty", {"protocols": [{"name": "", "metadata": b""}], "member_id": "x"}),
                   ("protocol twice", {"protocols": [{"name": "range", "metadata": b""}] * 2, "member_id": "x"}), ("group long", {"group_id": LONG, "member_id": "x"})):
    for version in (0, 1, 4, 5, 9):
        # versions that need no member id would wait in a rebalance
        if version < 4 and more.get("member_id", "") == "" and name not in ("group empty", "session timeout 0", "session timeout -1", "session timeout of a day", "no protocols", "protocol type empty"):
            continue
        values = {**JOIN, **more}
        if version == 0:
            del values["rebalance_timeout_ms"]
        case(f"JoinGroup {version}: {name}", ask("JoinGroup", version, **values))
for name, instance in (("empty", ""), ("with a blank", "a b"), ("of dots", ".."), ("long", LONG)):
    case(f"JoinGroup 5: instance {name}", ask("JoinGroup", 5, **{**JOIN, "group_id": "i", "member_id": "x", "group_instance_id": instance}))
for t in (-1, 0, -2**31):
    case(f"JoinGroup 4: rebalance timeout {t}", ask("JoinGroup", 4, **{**JOIN, "rebalance_timeout_ms": t}))
for version in (0, 3, 4):
    for name, more in (("group unknown", {}), ("group empty", {"group_id": ""}), ("generation -1", {"generation_id": -1}), ("member empty", {"member_id": ""}), ("generation -5", {"generation_id": -5})):
        values = {"group_id": "h", "generation_id": 1, "member_id": "m", **more}
        case(f"Heartbeat {version}: {name}", ask("Heartbeat", version, **values))
        case(f"SyncGroup {version}: {name}", ask("SyncGroup", version, **values))
    case(f"Heartbeat {version}: bytes behind", ask("Heartbeat", version, tail=b"\0\0", group_id="h", generation_id=1, member_id="m"))
for name, more in (("null type and name", {"protocol_type": None, "protocol_name": None}), ("a type", {"protocol_type": "consumer", "protocol_name": None}),
                   ("empty ones", {"protocol_type": "", "protocol_name": ""}), ("assignments", {"protocol_type": "x", "protocol_name": "y", "assignments": [{"member_id": "q", "assignment": b""}]})):
    case(f"SyncGroup 5: {name}", ask("SyncGroup", 5, group_id="h", generation_id=1, member_id="m", **more))
for version in (0, 2):
    for g, m in (("", "m"), ("h", ""), ("h", "m")):
        case(f"LeaveGroup {version}: group {g!r} member {m!r}", ask("LeaveGroup", version, group_id=g, member_id=m))
for version in (3, 5):
    for name, members in (("none", []), ("unknown", [{"member_id": "m", "group_instance_id": None}]), ("by instance", [{"member_id": "", "group_instance_id": "i"}]),
                          ("twice", [{"member_id": "m", "group_instance_id": None}] * 2), ("neither", [{"member_id": "", "group_instance_id": None}])):
        for g in ("h", ""):
            case(f"LeaveGroup {version}: members {name} of {g!r}", ask("LeaveGroup", version, group_id=g, members=members))
COMMIT = {"partition_index": 0, "committed_offset": 5}
for version in (2, 5, 8, 9):
    for name, more, part in (("group empty", {"group_id": ""}, {}), ("group long", {"group_id": LONG}, {}), ("generation 5", {"generation_id_or_member_epoch": 5}, {}), ("a member", {"member_id": "m"}, {}),
                             ("generation and member", {"generation_id_or_member_epoch": 5, "member_id": "m"}, {}), ("generation -5", {"generation_id_or_member_epoch": -5}, {}),
                             ("offset -1", {}, {"committed_offset": -1}), ("offset -5", {}, {"committed_offset": -5}), ("metadata null", {}, {"committed_metadata": None}),
                             ("metadata too long", {}, {"committed_metadata": "m" * 5000}), ("no topics", {"topics": []}, {}), ("no partitions", {"topics": [{"name": "t", "partitions": []}]}, {}),
                             ("a partition twice", {"topics": [{"name": "t", "partitions": [COMMIT] * 2}]}, {}), ("a topic twice", {"topics": [{"name": "t", "partitions": [COMMIT]}] * 2}, {})):
        values = {"group_id": "g", "generation_id_or_member_epoch": -1, "topics": [{"name": "t", "partitions": [{**COMMIT, **part}]}], **more}
        case(f"OffsetCommit {version}: {name}", ask("OffsetCommit", version, **values))
for t in (-1, 0, -5):
    case(f"OffsetCommit 2: retention {t}", ask("OffsetCommit", 2, group_id="g", generation_id_or_member_epoch=-1, retention_time_ms=t, topics=[{"name": "t", "partitions": [COMMIT]}]))
for version in (1, 2, 5, 7):
    for g in ("", "nowhere", LONG):
        case(f"OffsetFetch {version}: group {g[:9]!r}", ask("OffsetFetch", version, group_id=g, topics=[{"name": "t", "partition_indexes": [0]}]))
    case(f"OffsetFetch {version}: null topics", ask("OffsetFetch", version, group_id="g", topics=None) if version > 1 else raw("OffsetFetch", 1, b"\0\1g\xff\xff\xff\xff"))
    case(f"OffsetFetch {version}: no topics", ask("OffsetFetch", version, group_id="g", topics=[]))
    case(f"OffsetFetch {version}: odd partitions", ask("OffsetFetch", version, group_id="g", topics=[{"name": "t", "partition_indexes": [0, 0, -1, 77]}]))
for version in (8, 9):
    for name, groups in (("none", []), ("twice", [{"group_id": "g", "topics": None}] * 2), ("empty", [{"group_id": "", "topics": None}]), ("of no topics", [{"group_id": "g", "topics": []}]),
                         ("of a topic without partitions", [{"group_id": "g", "topics": [{"name": "t", "partition_indexes": []}]}])):
        case(f"OffsetFetch {version}: groups {name}", ask("OffsetFetch", version, groups=groups))
for version in (0, 3, 5):
    for name, groups in (("none", []), ("empty", [""]), ("unknown", ["nowhere"]), ("twice", ["g", "g"]), ("long", [LONG])):
        case(f"DescribeGroups {version}: {name}", ask("DescribeGroups", version, groups=groups))
        if version < 3:
            case(f"DeleteGroups {version}: {name}", ask("DeleteGroups", version, groups_names=["d" + g if g else g for g in groups]))
for name, states in (("odd", ["x", ""]), ("lower", ["stable"]), ("twice", ["Empty", "Empty"]), ("upper", ["EMPTY"])):
    case(f"ListGroups 4: states {name}", ask("ListGroups", 4, states_filter=states))
for name, types in (("odd", ["x"]), ("empty", [""]), ("upper", ["CLASSIC"]), ("consumer", ["consumer"])):
    case(f"ListGroups 5: types {name}", ask("ListGroups", 5, types_filter=types))
for g in ("", "nowhere", "g"):
    case(f"OffsetDelete: group {g!r}", ask("OffsetDelete", 0, group_id=g, topics=[{"name": "missing", "partitions": [{"partition_index": 0}]}]))
    case(f"OffsetDelete: group {g!r}, no topics", ask("OffsetDelete", 0, group_id=g, topics=[]))
case("OffsetDelete: a partition twice", ask("OffsetDelete", 0, group_id="g", topics=[{"name": "t", "partitions": [{"partition_index": 1}] * 2}]))

# ---------------------------------------------------------------- administration
NEW = {"name": "new", "num_partitions": 1, "replication_factor": 1}
for version in (0, 2, 4, 7):
    for name, more in (("name empty", {"name": ""}), ("name with a blank", {"name": "a b"}), ("name dot", {"name": "."}), ("name long", {"name": LONG}), ("there already", {"name": "t"}),
                       ("colliding", {"name": "with_dot"}), ("partitions 0", {"num_partitions": 0}), ("partitions -1", {"num_partitions": -1}), ("partitions -2", {"num_partitions": -2}),
                       ("factor 0", {"replication_factor": 0}), ("factor -1", {"replication_factor": -1}), ("factor -2", {"replication_factor": -2}), ("factor 99", {"replication_factor": 99}),
                       ("config unknown", {"configs": [{"name": "x", "value": "1"}]}), ("config null", {"configs": [{"name": "retention.ms", "value": None}]}),
                       ("config bad", {"configs": [{"name": "retention.ms", "value": "x"}]}), ("config twice", {"configs": [{"name": "retention.ms", "value": "1"}] * 2}),
                       ("config name empty", {"configs": [{"name": "", "value": "1"}]}),
                       ("assignment and counts", {"assignments": [{"partition_index": 0, "broker_ids": [0]}]}),
                       ("assignment of no broker", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": []}]}),
                       ("assignment to a broker twice", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": [0, 0]}]}),
                       ("assignment to an unknown broker", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": [77]}]}),
                       ("assignment to broker -1", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": [-1]}]}),
                       ("assignment that begins at 1", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 1, "broker_ids": [0]}]}),
                       ("assignment of a partition twice", {"num_partitions": -1, "replication_factor": -1, "assignments": [{"partition_index": 0, "broker_ids": [0]}] * 2})):
        case(f"CreateTopics {version}: {name}", ask("CreateTopics", version, topics=[{**NEW, "name": f"new-{len(CASES)}", **more}], timeout_ms=9000, **({"validate_only": True} if version else {})))
    if version:
        case(f"CreateTopics {version}: no topics", ask("CreateTopics", version, topics=[], timeout_ms=9000))
        case(f"CreateTopics {version}: a name twice", ask("CreateTopics", version, topics=[NEW, NEW], timeout_ms=9000, validate_only=True))
        case(f"CreateTopics {version}: timeout -1, validated", ask("CreateTopics", version, topics=[NEW], timeout_ms=-1, validate_only=True))
for version in (0, 3, 5):
    case(f"DeleteTopics {version}: none", ask("DeleteTopics", version, topic_names=[], timeout_ms=9000))
    case(f"DeleteTopics {version}: an unknown one twice", ask("DeleteTopics", version, topic_names=["missing", "missing"], timeout_ms=9000))
for name, topics in (("no name and no id", [{"name": None}]), ("an unknown id", [{"name": None, "topic_id": SOME_ID}]), ("name and id", [{"name": "missing", "topic_id": SOME_ID}]),
                     ("an unknown id twice", [{"name": None, "topic_id": SOME_ID}] * 2), ("a name twice", [{"name": "missing"}] * 2)):
    case(f"DeleteTopics 6: {name}", ask("DeleteTopics", 6, topics=topics, timeout_ms=9000))
for version in (0, 3):
    for name, topic in (("fewer", {"count": 1}), ("as many", {"count": 2}), ("0", {"count": 0}), ("-1", {"count": -1}), ("assignment of none", {"count": 3, "assignments": []}),
                        ("assignment of too many", {"count": 3, "assignments": [{"broker_ids": [0]}] * 2}), ("assignment to nobody", {"count": 3, "assignments": [{"broker_ids": []}]}),
                        ("assignment to an unknown broker", {"count": 3, "assignments": [{"broker_ids": [77]}]}), ("assignment of another factor", {"count": 3, "assignments": [{"broker_ids": [0, 0]}]}),
                        ("2^31-1", {"count": 2**31 - 1})):
        if name == "2^31-1":
            continue
        case(f"CreatePartitions {version}: {name}", ask("CreatePartitions", version, topics=[{"name": "t", "assignments": None, **topic}], timeout_ms=9000, validate_only=True))
    case(f"CreatePartitions {version}: no topics", ask("CreatePartitions", version, topics=[], timeout_ms=9000))
    case(f"CreatePartitions {version}: a topic twice", ask("CreatePartitions", version, topics=[{"name": "t", "count": 3, "assignments": None}] * 2, timeout_ms=9000, validate_only=True))
for version in (0, 1, 4):
    for t, name in ((0, "x"), (1, "x"), (2, "t"), (2, ""), (4, "0"), (4, ""), (4, "77"), (4, "x"), (4, "-1"), (8, "0"), (8, ""), (8, "x"), (9, ""), (16, "x"), (32, "x"), (99, "x"), (-1, "x")):
        case(f"DescribeConfigs {version}: type {t} name {name!r}", ask("DescribeConfigs", version, resources=[{"resource_type": t, "resource_name": name, "configuration_keys": ["retention.ms"]}]))
    for name, keys in (("null", None), ("none", []), ("unknown", ["x"]), ("twice", ["retention.ms"] * 2), ("empty", [""])):
        case(f"DescribeConfigs {version}: keys {name}", lambda c, v=version, k=keys: len(codes(c.call("DescribeConfigs", v, {"resources": [
            {"resource_type": 2, "resource_name": "t", "configuration_keys": k}]}))[0]))
    case(f"DescribeConfigs {version}: no resources", ask("DescribeConfigs", version, resources=[]))
    case(f"DescribeConfigs {version}: a resource twice", ask("DescribeConfigs", version, resources=[{"resource_type": 2, "resource_name": "t", "configuration_keys": []}] * 2))
for version in (0, 1):
    for name, configs in (("no configs", []), ("an operation 9", [{"name": "retention.ms", "config_operation": 9, "value": "1"}]), ("an operation -1", [{"name": "retention.ms", "config_operation": -1, "value": "1"}]),
                          ("a key twice", [{"name": "retention.ms", "config_operation": 0, "value": "1"}] * 2), ("null", [{"name": "retention.ms", "config_operation": 0, "value": None}]),
                          ("null deleted", [{"name": "retention.ms", "config_operation": 1, "value": None}]), ("a value deleted", [{"name": "retention.ms", "config_operation": 1, "value": "5"}]),
                          ("appended to what is no list", [{"name": "retention.ms", "config_operation": 2, "value": "5"}]), ("appended", [{"name": "cleanup.policy", "config_operation": 2, "value": "compact"}]),
                          ("subtracted", [{"name": "cleanup.policy", "config_operation": 3, "value": "compact"}]), ("an empty key", [{"name": "", "config_operation": 0, "value": "5"}]),
                          ("an unknown key deleted", [{"name": "x", "config_operation": 1, "value": None}]), ("an unknown key", [{"name": "x", "config_operation": 0, "value": "1"}])):
        case(f"IncrementalAlterConfigs {version}: {name}", ask("IncrementalAlterConfigs", version, resources=[{"resource_type": 2, "resource_name": "u", "configs": configs}], validate_only=True))
        if "operation" not in name and "deleted" not in name and "append" not in name and "subtr" not in name:
            case(f"AlterConfigs {version}: {name}", ask("AlterConfigs", version, validate_only=True, resources=[
                {"resource_type": 2, "resource_name": "u", "configs": [{k: v for k, v in c.items() if k != "config_operation"} for c in configs]}]))
    for t, name in ((0, "x"), (1, "x"), (2, ""), (2, "missing"), (4, "77"), (4, "x"), (16, "x"), (99, "x")):
        case(f"IncrementalAlterConfigs {version}: type {t} name {name!r}", ask("IncrementalAlterConfigs", version, validate_only=True, resources=[
            {"resource_type": t, "resource_name": name, "configs": [{"name": "retention.ms", "config_operation": 0, "value": "1"}]}]))
    case(f"IncrementalAlterConfigs {version}: no resources", ask("IncrementalAlterConfigs", version, resources=[]))
    case(f"IncrementalAlterConfigs {version}: a resource twice", ask("IncrementalAlterConfigs", version, validate_only=True, resources=[
        {"resource_type": 2, "resource_name": "u", "configs": [{"name": "retention.ms", "config_operation": 0, "value": "1"}]}] * 2))
for version in (0, 4):
    case(f"DescribeLogDirs {version}: null topics", lambda c, v=version: len(c.call("DescribeLogDirs", v, {"topics": None})["results"]))
    case(f"DescribeLogDirs {version}: no topics", ask("DescribeLogDirs", version, topics=[]))
    case(f"DescribeLogDirs {version}: a topic twice", ask("DescribeLogDirs", version, topics=[{"topic": "t", "partitions": [0, 0, -1, 77]}] * 2))
for version in (0, 1, 3, 5):
    for name, more in (("id empty", {"transactional_id": ""}), ("timeout -1", {"transaction_timeout_ms": -1}), ("timeout 0", {"transaction_timeout_ms": 0})):
        case(f"InitProducerId {version}: {name}", ask("InitProducerId", version, **{"transactional_id": None, "transaction_timeout_ms": 1000, **more}))
for pid, epoch in ((-1, 0), (0, -1), (5, 5), (-2, -1), (-2, -2), (-1, -1), (5, -5)):
    for version in (3, 5):
        case(f"InitProducerId {version}: id {pid}, epoch {epoch}", ask("InitProducerId", version, transactional_id=None, transaction_timeout_ms=1000, producer_id=pid, producer_epoch=epoch))
for version in (0, 1, 2):
    for name, more in (("null", {"topic_partitions": None}), ("none", {"topic_partitions": []}), ("unknown", {"topic_partitions": [{"topic": "missing", "partitions": [0]}]}),
                       ("odd partitions", {"topic_partitions": [{"topic": "t", "partitions": [0, 0, 77, -1]}]}), ("no partitions", {"topic_partitions": [{"topic": "t", "partitions": []}]}),
                       ("type 9", {"topic_partitions": [], "election_type": 9}), ("unclean", {"topic_partitions": [{"topic": "t", "partitions": [0]}], "election_type": 1})):
        if version == 0 and "election_type" in more:
            continue
        case(f"ElectLeaders {version}: {name}", ask("ElectLeaders", version, **{"timeout_ms": 9000, **more}))
for name, topics in (("none", []), ("unknown", [{"name": "missing", "partitions": [{"partition_index": 0, "replicas": [0]}]}]), ("to cancel", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": None}]}]),
                     ("to nobody", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": []}]}]), ("to -1", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [-1]}]}]),
                     ("to one twice", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [0, 0]}]}]), ("to an unknown broker", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [77]}]}]),
                     ("partition 77", [{"name": "t", "partitions": [{"partition_index": 77, "replicas": [0]}]}]), ("no partitions", [{"name": "t", "partitions": []}]),
                     ("as it is", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [0]}]}]), ("a partition twice", [{"name": "t", "partitions": [{"partition_index": 0, "replicas": [0]}] * 2}])):
    case(f"AlterPartitionReassignments: {name}", ask("AlterPartitionReassignments", 0, timeout_ms=9000, topics=topics))
for name, topics in (("null", None), ("none", []), ("unknown", [{"name": "missing", "partition_indexes": [0]}]), ("odd", [{"name": "t", "partition_indexes": [0, 0, -1, 77]}])):
    case(f"ListPartitionReassignments: {name}", ask("ListPartitionReassignments", 0, timeout_ms=9000, topics=topics))
for t in (0, 1, 2, 9):
    case(f"DescribeCluster 1: endpoint type {t}", ask("DescribeCluster", 1, endpoint_type=t))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    b = Both(tmp_path_factory.mktemp("both"))
    try:
        b.create_topic("t", partitions=2)
        b.create_topic("u")
        b.create_topic("with.dot")
        b.find_group("g")
        for address in b.addresses:
            with Peer(address) as c:  # Kafka has no producer ids at first
                wait_until(lambda: c.call("InitProducerId", 1, {"transactional_id": None, "transaction_timeout_ms": 1})["error_code"] == 0, 30, "an id")
        yield b
    finally:
        b.stop()


TWICE = "what is named twice is answered twice; Kafka answers once, and stores only the last of two batches for a partition"
MILD = "we answer; Kafka fails (UNKNOWN_SERVER_ERROR) or refuses what no client sends"
CODE = "both refuse, with another code"
# (pattern of names, why the answers differ); none of them is refused by us and taken by Kafka without a reason
DIFFERENCES = [
    (r"(Metadata|Produce|DescribeLogDirs|DeleteRecords|OffsetCommit|OffsetDelete|CreatePartitions).* twice", TWICE),
    (r"(OffsetFetch|ElectLeaders).*odd partitions", TWICE),
    (r"AlterPartitionReassignments: a partition twice", TWICE),
    (r"(Produce|OffsetCommit) .*no partitions", "a topic without partitions is answered as one; Kafka leaves it out"),
    (r"OffsetFetch .: groups of a topic without partitions", "a topic without partitions is answered as one; Kafka leaves it out"),
    (r"Metadata 1[012]: .* id", "an id or null where names are wanted refuses that topic; Kafka refuses, or answers by id, all of them"),
    (r"Produce .*acks (2|100)$", "the historic meaning is kept: that many replicas have it"),
    (r"Fetch .*: (max_bytes -1|partition_max_bytes -1|isolation -?[17]|session \d+, epoch -5)$", MILD),
    (r"ListOffsets .*: (at most -1 offsets|isolation (2|7|-1)|leader epoch -2)$", MILD),
    (r"OffsetForLeaderEpoch 4: current epoch -2$", MILD),
    (r"OffsetFetch .: groups none", "Kafka never answers"),
    (r"CreateTopics 0: assignment (of no broker|to broker -1)$", "Kafka makes a topic that can never have a leader, and waits for it"),
    (r"CreateTopics [247]: assignment (of no broker|to broker -1)$", "Kafka would make a topic that can never have a leader"),
    (r"CreateTopics .: assignment of a partition twice$", "Kafka takes the last of the two; which one is meant cannot be known"),
    (r"CreatePartitions: name (empty|dot|two dots)$", CODE),
    (r"DeleteTopics 6: no name and no id$", CODE),
    (r"DescribeConfigs .: type 8 name '0'$", "the levels of loggers are not described yet"),
    (r"IncrementalAlterConfigs .: an operation (9|-1)$", CODE),
    (r"ElectLeaders .: type 9$", MILD),
    (r"ElectLeaders .: null$", "a partition that never had a leader (its topic was assigned to a broker that is not there) is named with an error"),
]


def test_the_answers_are_kafkas(both):
    wrong, used = [], set()
    for name, question in CASES.items():
        reasons = [pattern for pattern, _ in DIFFERENCES if re.search(pattern, name)]
        kafkas, ours = both.ask(question, 3 if reasons else 30)
        if kafkas != ours:
            used.update(reasons)
            if not reasons:
                wrong.append(f"{name}: Kafka {kafkas}, kafuka {ours}")
    assert not wrong, "\n".join(wrong)
    assert not [pattern for pattern, _ in DIFFERENCES if pattern not in used]


MUTATIONS, SEED = 3000, 8
# of these a mutation could change what both have, or wait for other members: the orders of the controller, Produce, Fetch, JoinGroup, SyncGroup,
# CreateTopics, DeleteTopics, AlterConfigs, CreatePartitions, ElectLeaders, IncrementalAlterConfigs, reassignments and between brokers
CHANGING = {0, 1, 4, 5, 6, 7, 11, 14, 19, 20, 33, 37, 43, 44, 45, 56, 57, 58, 67}
ACLS = {29, 30, 31}  # an unknown type: INVALID_REQUEST, while Kafka closes the connection


def mutated(rng, frames):
    """A real client's request with one or two places of its body changed."""
    f = bytearray(rng.choice(frames))
    start = 10 + max(struct.unpack(">h", f[8:10])[0], 0)
    for _ in range(rng.randrange(1, 3)):
        at, what = rng.randrange(start, len(f) + 1), rng.randrange(4)
        if what == 0 or at == len(f):
            f += rng.randbytes(rng.randrange(1, 5))
        elif what == 1:
            f[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif what == 2:
            f[at] ^= 1 << rng.randrange(8)
        else:
            f[at:at + 1] = rng.choice([b"\xff\xff", b"\xff\xfe", b"\x80\x00", b"\x01\x05\x00", b"\x81\x80\x00"])
    return bytes(f)


def test_mutated_requests_of_clients_are_answered_or_closed_alike(both):
    """What the codec takes and refuses, found by chance instead of by thinking of it."""
    offered = both.ask(lambda c: {k["api_key"] for k in c.call("ApiVersions", 3, {"client_software_name": "x", "client_software_version": "1"})["api_keys"]})
    keys = (offered[0] & offered[1]) - CHANGING
    rng = random.Random(SEED)
    frames = [f for f in golden_requests() if struct.unpack(">h", f[:2])[0] in keys]
    assert len({f[:4] for f in frames}) > 30
    wrong, answered = [], 0
    for _ in range(MUTATIONS):
        f = mutated(rng, frames)
        kafkas, ours = both.ask(frame(f), 5)
        answered += kafkas == ours == "answered"
        if kafkas != ours and kafkas != "silent" and not (f[1] in ACLS and ours == "answered"):
            wrong.append(f"{f.hex()}: Kafka {kafkas}, kafuka {ours}")
    assert not wrong, "\n".join(wrong)
    assert answered > MUTATIONS / 4
