# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a shared three-broker cluster for tests that leave it whole, and a maker of clusters for those that break them."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cluster import Cluster  # noqa: E402


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        c.start()
        yield c
    finally:
        c.stop()


@pytest.fixture
def make_cluster(tmp_path):
    made = []

    def make(**kwargs):
        c = Cluster(tmp_path / f"cluster{len(made)}", **kwargs)
        made.append(c)
        return c.start()

    yield make
    for c in made:
        c.stop()
