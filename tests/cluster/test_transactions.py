# SPDX-License-Identifier: Apache-2.0
"""Until there is a transaction coordinator: whoever asks for a transaction is told so at once, and nothing is left behind."""
import time

import confluent_kafka
import pytest
from cluster import kcat
from wire import Peer, batch, record

TRANSACTIONAL, REFUSED = 16, 53  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_librdkafka_ends_at_once_with_the_reason(shared_cluster):
    producer = confluent_kafka.Producer({"bootstrap.servers": shared_cluster.bootstrap, "transactional.id": "t"})
    began = time.monotonic()
    with pytest.raises(confluent_kafka.KafkaException) as e:
        producer.init_transactions(50)
    error = e.value.args[0]
    assert error.code() == REFUSED and error.fatal() and not error.retriable(), error
    assert time.monotonic() - began < 25


def test_coordinator_and_producer_id_of_a_transactional_id_are_refused(shared_cluster):
    with Peer(shared_cluster.brokers[0]) as c:
        for version in range(1, 4):
            a = c.call("FindCoordinator", version, {"key": "t", "key_type": 1})
            assert a["error_code"] == REFUSED and "transactions are not supported" in a["error_message"]
        for version in range(4, 7):
            (a,) = c.call("FindCoordinator", version, {"coordinator_keys": ["t"], "key_type": 1})["coordinators"]
            assert a["error_code"] == REFUSED and "transactions are not supported" in a["error_message"]
        for version in range(6):
            a = c.call("InitProducerId", version, {"transactional_id": "t", "transaction_timeout_ms": 1000})
            assert (a["error_code"], a["producer_id"]) == (REFUSED, -1)


@pytest.mark.parametrize("version", [0, 3, 9])
def test_a_transactional_batch_is_refused_and_not_stored(shared_cluster, version):
    topic = f"txn-{version}"
    shared_cluster.create_topic(topic)
    leader = shared_cluster.leader_and_isr(topic, 0)[0]
    with Peer(shared_cluster.brokers[leader]) as c:
        a = c.produce(topic, batch([record(0)], attributes=TRANSACTIONAL, producer=(7, 0, 0)), version)
        assert a["error_code"] == REFUSED and a["base_offset"] == -1
        assert version < 8 or "transactions are not supported" in a["error_message"]
        assert c.produce(topic, batch([record(0)]), version)["error_code"] == 0
    read = kcat("-b", shared_cluster.bootstrap, "-C", "-t", topic, "-e", "-q", "-X", "isolation.level=read_committed", "-f", "%o:%s ")
    assert read.stdout == b"0:v "
