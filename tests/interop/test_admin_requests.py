# SPDX-License-Identifier: Apache-2.0
"""Requests about features that neither broker has here (ACLs, delegation tokens, quotas, SCRAM, transactions): consoles and mirror tools ask
them of every cluster. Kafka 3.9 without these features and kafuka give the same answers."""
import pytest
from both import Both  # first: it makes tests/cluster known

from wire import REQUESTS, Peer, batch, record

ANY_ACL = {"resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None, "host_filter": None,
           "operation": 1, "permission_type": 1}
ACL = {"resource_type": 2, "resource_name": "t", "resource_pattern_type": 3, "principal": "User:x", "host": "*", "operation": 3, "permission_type": 3}
USER = [{"entity_type": "user", "entity_name": "x"}]


def acls(**changes):
    return "DescribeAcls", {**ANY_ACL, **changes}


def new_acl(**changes):
    return "CreateAcls", {"creations": [{**ACL, **changes}, ACL]}


def old_acl(**changes):
    return "DeleteAcls", {"filters": [{**ANY_ACL, **changes}, ANY_ACL]}


def quotas(*components, strict=False):
    return "DescribeClientQuotas", {"components": [{"entity_type": t, "match_type": m, "match": x} for t, m, x in components], "strict": strict}


def set_quota(entity, *ops, validate=True):
    return "AlterClientQuotas", {"entries": [{"entity": entity, "ops": [{"key": k, "value": v, "remove": r} for k, v, r in ops]}],
                                 "validate_only": validate}


def upsert(name="u", mechanism=1, iterations=8192):
    return "AlterUserScramCredentials", {"upsertions": [{"name": name, "mechanism": mechanism, "iterations": iterations, "salt": b"salt",
                                                          "salted_password": b"p" * 32}]}


def unscram(*users):
    return "AlterUserScramCredentials", {"deletions": [{"name": n, "mechanism": m} for n, m in users]}


def scram(*users):
    return "DescribeUserScramCredentials", {"users": [{"name": n} for n in users]}


# name: (request, its fields); sent in every version that can carry them
CASES = {
    "all acls": acls(),
    "acls of a topic": acls(resource_type_filter=2, resource_name_filter="t", pattern_type_filter=3),
    "acls, prefixed": acls(pattern_type_filter=4),
    "acls, matching patterns": acls(pattern_type_filter=2),
    "acls, unknown resource type": acls(resource_type_filter=0),
    "acls, resource type 99": acls(resource_type_filter=99),
    "acls, resource type -1": acls(resource_type_filter=-1),
    "acls, unknown pattern type": acls(pattern_type_filter=0),
    "acls, pattern type 99": acls(pattern_type_filter=99),
    "acls, unknown operation": acls(operation=0),
    "acls, operation 99": acls(operation=99),
    "acls, unknown permission": acls(permission_type=0),
    "acls, permission 99": acls(permission_type=99),
    "create an acl": new_acl(),
    "create no acl": ("CreateAcls", {"creations": []}),
    "create an acl, any resource": new_acl(resource_type=1),
    "create an acl, unknown resource": new_acl(resource_type=0),
    "create an acl, resource 99": new_acl(resource_type=99),
    "create an acl, any pattern": new_acl(resource_pattern_type=1),
    "create an acl, pattern 99": new_acl(resource_pattern_type=99),
    "create an acl, operation 99": new_acl(operation=99),
    "create an acl, any permission": new_acl(permission_type=1),
    "create an acl, empty name": new_acl(resource_name=""),
    "create an acl, no principal": new_acl(principal=""),
    "create an acl, odd principal": new_acl(principal="x"),
    "delete acls": old_acl(),
    "delete no acl": ("DeleteAcls", {"filters": []}),
    "delete acls, resource 99": old_acl(resource_type_filter=99),
    "delete acls, unknown pattern": old_acl(pattern_type_filter=0),
    "delete acls, operation 99": old_acl(operation=99),
    "token": ("CreateDelegationToken", {"renewers": [], "max_lifetime_ms": -1}),
    "token with an odd renewer": ("CreateDelegationToken", {"renewers": [{"principal_type": "Group", "principal_name": "x"}], "max_lifetime_ms": 0}),
    "token of another": ("CreateDelegationToken", {"owner_principal_type": "User", "owner_principal_name": "x", "max_lifetime_ms": 0}),
    "renew a token": ("RenewDelegationToken", {"hmac": b"x", "renew_period_ms": 1}),
    "expire a token": ("ExpireDelegationToken", {"hmac": b"", "expiry_time_period_ms": -1}),
    "all tokens": ("DescribeDelegationToken", {"owners": None}),
    "tokens of nobody": ("DescribeDelegationToken", {"owners": []}),
    "tokens of a user": ("DescribeDelegationToken", {"owners": [{"principal_type": "User", "principal_name": "x"}]}),
    "all quotas": quotas(),
    "all quotas, strictly": quotas(strict=True),
    "quotas of users": quotas(("user", 2, None)),
    "quotas of a user": quotas(("user", 0, "x")),
    "quotas of the default user": quotas(("user", 1, None)),
    "quotas of a user and a client": quotas(("user", 0, "x"), ("client-id", 2, None), strict=True),
    "quotas of ips": quotas(("ip", 2, None)),
    "quotas of an ip": quotas(("ip", 0, "1.2.3.4")),
    "quotas of an ip that is none": quotas(("ip", 0, "nowhere.invalid")),
    "quotas of an ip and a user": quotas(("ip", 2, None), ("user", 2, None)),
    "quotas twice": quotas(("user", 2, None), ("user", 2, None)),
    "quotas of what is not": quotas(("planet", 2, None)),
    "quotas of nothing": quotas(("", 2, None)),
    "quotas with match 9": quotas(("user", 9, None)),
    "quotas, exact match of null": quotas(("user", 0, None)),
    "quotas, default match of a name": quotas(("user", 1, "x")),
    "quotas, any match of a name": quotas(("user", 2, "x")),
    "scram users": ("DescribeUserScramCredentials", {"users": None}),
    "scram nobody": scram(),
    "scram two users": scram("x", "y"),
    "scram a user twice": scram("x", "y", "x"),
    "scram the empty user": scram(""),
    "scram the empty user twice": scram("", ""),
    "alter no scram": unscram(),
    "delete scram": unscram(("x", 1), ("y", 2)),
    "delete scram, mechanism 9": unscram(("x", 9)),
    "delete scram twice": unscram(("x", 1), ("x", 1)),
    "delete scram of two mechanisms": unscram(("x", 1), ("x", 2)),
    "delete scram of nobody": unscram(("", 1)),
    "scram with few iterations": upsert(iterations=4095),
    "scram with many iterations": upsert(iterations=16385),
    "scram with mechanism 0": upsert(mechanism=0),
    "scram with mechanism 3": upsert(mechanism=3),
    "scram of nobody": upsert(name=""),
    "scram of nobody with mechanism 9": upsert(name="", mechanism=9),
    "scram": upsert(),
    "transactions": ("ListTransactions", {}),
    "transactions by state": ("ListTransactions", {"state_filters": ["Ongoing", "Empty", "PrepareCommit", "PrepareAbort", "CompleteCommit",
                                                                      "CompleteAbort", "Dead", "PrepareEpochFence"]}),
    "transactions by states that are none": ("ListTransactions", {"state_filters": ["Ongoing", "x", "", "ongoing", "x"]}),
    "transactions by producer": ("ListTransactions", {"producer_id_filters": [1, -5]}),
    "transactions by duration": ("ListTransactions", {"duration_filter": 1000}),
    "transactions by a duration below 0": ("ListTransactions", {"duration_filter": -7}),
    "describe a transaction": ("DescribeTransactions", {"transactional_ids": ["x", "y", "x"]}),
    "describe no transaction": ("DescribeTransactions", {"transactional_ids": []}),
    "describe the empty transaction": ("DescribeTransactions", {"transactional_ids": [""]}),
    "producers": ("DescribeProducers", {"topics": [{"name": "written", "partition_indexes": [0, 1, 7, -1]}, {"name": "missing", "partition_indexes": [0]},
                                                    {"name": "", "partition_indexes": [0]}, {"name": "bad name", "partition_indexes": [0]}]}),
    "no producers": ("DescribeProducers", {"topics": []}),
    "producers of no partition": ("DescribeProducers", {"topics": [{"name": "written", "partition_indexes": []}]}),
    "producers twice": ("DescribeProducers", {"topics": [{"name": "written", "partition_indexes": [0, 0]}] * 2}),
}
for k in ("producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate", "connection_creation_rate", "x"):
    for entity in ("user", "client-id", "ip"):
        CASES[f"set {k} of a {entity}"] = set_quota([{"entity_type": entity, "entity_name": "x" if entity != "ip" else "1.2.3.4"}], (k, 1000.0, False))
CASES.update({
    "set no quota": ("AlterClientQuotas", {"entries": [], "validate_only": True}),
    "set a quota of nobody": set_quota([], ("producer_byte_rate", 1.0, False)),
    "set nothing of a user": set_quota(USER),
    "set a negative quota": set_quota(USER, ("producer_byte_rate", -1.0, False)),
    "set half a byte": set_quota(USER, ("producer_byte_rate", 0.5, False)),
    "set half a percent": set_quota(USER, ("request_percentage", 0.5, False)),
    "set a quota that is no number": set_quota(USER, ("producer_byte_rate", float("nan"), False)),
    "remove a quota": set_quota(USER, ("producer_byte_rate", 0.0, True)),
    "remove a quota that is none": set_quota(USER, ("x", 0.0, True)),
    "set a quota twice": set_quota(USER, ("producer_byte_rate", 1.0, False), ("producer_byte_rate", 2.0, False)),
    "set a quota of what is not": set_quota([{"entity_type": "planet", "entity_name": "x"}], ("producer_byte_rate", 1.0, False)),
    "set a quota of an empty name": set_quota([{"entity_type": "user", "entity_name": ""}], ("producer_byte_rate", 1.0, False)),
    "set a default quota": set_quota([{"entity_type": "user", "entity_name": None}], ("producer_byte_rate", 1.0, False)),
    "set a quota of a user twice": set_quota(USER * 2, ("producer_byte_rate", 1.0, False)),
    "set a quota of an ip that is none": set_quota([{"entity_type": "ip", "entity_name": "nowhere.invalid"}], ("connection_creation_rate", 1.0, False)),
    "set a quota of an ip and a user": set_quota(USER + [{"entity_type": "ip", "entity_name": "1.2.3.4"}], ("connection_creation_rate", 1.0, False)),
})

NO_QUOTAS = "Kafka stores the quota; here nothing would be limited, so that it is refused (UNSUPPORTED_VERSION)"
UNKNOWN = "Kafka closes the connection; INVALID_REQUEST here"
NO_COORDINATOR = "Kafka has a transaction coordinator, if not on this broker; here there are no transactions"
DIFFERENCES = {
    "acls, unknown resource type": UNKNOWN,
    "acls, unknown pattern type": UNKNOWN,
    "acls, unknown operation": UNKNOWN,
    "acls, unknown permission": UNKNOWN,
    "create an acl, unknown resource": UNKNOWN,
    "delete acls, unknown pattern": UNKNOWN,
    "quotas with match 9": "INVALID_REQUEST instead of UNKNOWN_SERVER_ERROR",
    "quotas, exact match of null": "INVALID_REQUEST instead of UNKNOWN_SERVER_ERROR",
    "scram": "Kafka stores the credentials; here nobody could log in with them",
    "describe a transaction": NO_COORDINATOR,
    "set a quota of an ip that is none": "refused as every quota; no name is looked up for that",
    "set a quota that is no number": "Kafka takes it for 0",
    **{f"set {k} of a {e}": NO_QUOTAS for k in ("producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate")
       for e in ("user", "client-id")},
    "set connection_creation_rate of a ip": NO_QUOTAS,
    "set half a percent": NO_QUOTAS,
    "set a quota twice": NO_QUOTAS,
    "set a default quota": NO_QUOTAS,
    "set a quota of a user twice": NO_QUOTAS,
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    b = Both(tmp_path_factory.mktemp("both"))
    try:
        b.create_topic("written", partitions=2)
        for data in (batch([record(0), record(1)], base_timestamp=1700000000000, producer=(4711, 3, 0)),
                     batch([record(0)], base_timestamp=1700000000000, producer=(4712, 0, 0))):
            for address in b.addresses:
                with Peer(address) as c:
                    assert c.produce("written", data)["error_code"] == 0
        yield b
    finally:
        b.stop()


def without_texts(x):
    """Texts are our own, but said where Kafka says one, or where there is an error."""
    if isinstance(x, dict):
        return {k: without_texts(v) for k, v in x.items() if k not in ("error_message", "throttle_time_ms")}
    if isinstance(x, list):
        return sorted((without_texts(e) for e in x), key=str)
    return x


def test_the_answers_are_kafkas(both):
    wrong, different = [], set()
    for name, (api, body) in CASES.items():
        request = REQUESTS[next(k for k, m in REQUESTS.items() if m.name == api + "Request")]
        for version in range(request.first, request.last + 1):
            kafkas, ours = both.ask(lambda c: without_texts(c.call(api, version, body)))
            if kafkas == ours:
                continue
            different.add(name)
            if name not in DIFFERENCES:
                wrong.append(f"{name}, version {version}:\n  Kafka  {kafkas}\n  kafuka {ours}")
    assert not wrong, "\n".join(wrong)
    assert different == set(DIFFERENCES), set(DIFFERENCES) - different


def test_refusals_say_why(both):
    with Peer(both.addresses[1]) as c:
        assert "no authorizer" in c.call("DescribeAcls", 3, acls()[1])["error_message"]
        api, body = set_quota(USER, ("producer_byte_rate", 1000.0, False), validate=False)
        (entry,) = c.call(api, 1, body)["entries"]
        assert entry["error_code"] == 35 and "not supported" in entry["error_message"]


def test_both_offer_the_same_of_these(both):
    def offered(c):
        keys = c.call("ApiVersions", 3, {"client_software_name": "x", "client_software_version": "1"})["api_keys"]
        return {k["api_key"]: (k["min_version"], k["max_version"]) for k in keys}

    kafkas, ours = both.ask(offered)
    asked = {m.key for m in REQUESTS.values() if m.name in {api + "Request" for api, _ in CASES.values()}}
    assert {k: kafkas.get(k) for k in asked} == {k: ours.get(k) for k in asked}
    assert not set(ours) - set(kafkas) and all(ours[k][1] <= kafkas[k][1] for k in ours)
