# SPDX-License-Identifier: Apache-2.0
"""A short run of the fault test of groups (group_faults.py says how to run it for half an hour), and that its checks can fail."""
import group_faults
import groups
import pytest


class Fake:
    """A member that has written down these events."""

    def __init__(self, name, *events):
        self.name = self.identity = name
        self.written = [{"t": float(t), "e": e, **fields} for t, e, fields in events]

    def events(self):
        return self.written

    owned = groups.Member.owned


def assigned(t, generation, *partitions):
    return t, "assigned", {"generation": generation, "partitions": list(partitions), "owned": list(partitions)}


def records(t, *r):
    return t, "records", {"r": [list(x) for x in r]}


def test_the_checks_find_nothing_where_nothing_is_wrong():
    a = Fake("a", assigned(1, 1, "t-0", "t-1"), records(2, ("t-0", 0), ("t-1", 0)), (3, "committed", {"offsets": {"t-0": 1}}),
             (4, "revoked", {"partitions": ["t-0", "t-1"], "owned": []}), assigned(5, 2, "t-1"), records(6, ("t-1", 0)))
    b = Fake("b", assigned(5, 2, "t-0"), records(6, ("t-0", 1)))
    groups.check([a, b], {"t-0": {0: 1.0, 1: 2.0}, "t-1": {0: 1.0}})
    assert groups.settled([a, b], ["t-0", "t-1"])


@pytest.mark.parametrize("what, b", [
    ("lost", Fake("b", assigned(5, 2, "t-0"))),
    ("two owners", Fake("b", assigned(5, 1, "t-0"), records(6, ("t-0", 1)))),
    ("strays", Fake("b", assigned(5, 2, "t-1"), records(6, ("t-0", 1)))),
    ("went back", Fake("b", assigned(5, 2, "t-0"), records(6, ("t-0", 0), ("t-0", 1)))),
])
def test_the_checks_find_what_is_wrong(what, b):
    a = Fake("a", assigned(1, 1, "t-0"), records(2, ("t-0", 0)), (3, "committed", {"offsets": {"t-0": 1}}),
             (4, "revoked", {"partitions": ["t-0"], "owned": []}))
    with pytest.raises(AssertionError, match=what):
        groups.check([a, b], {"t-0": {0: 1.0, 1: 2.0}})


def test_groups_are_not_settled_while_shares_are_missing_double_or_uneven():
    one, both, none = Fake("a", assigned(1, 1, "t-0")), Fake("b", assigned(1, 1, "t-0", "t-1")), Fake("c", assigned(1, 1))
    assert not groups.settled([one], ["t-0", "t-1"])
    assert not groups.settled([one, both], ["t-0", "t-1"])
    assert not groups.settled([both, none], ["t-0", "t-1"])


@pytest.mark.parametrize("kind", ["broker", "zookeeper"])
def test_faults(kind, tmp_path):
    assert group_faults.main(["--kinds", kind, "--seconds", "15", "--folder", str(tmp_path)]) == 0
