# SPDX-License-Identifier: Apache-2.0
"""kafuka-doctor: what keeps a client from its brokers is found from where it stands, with the setting to change."""
import contextlib
import re
import socket
import threading
import time

import pytest
from cluster import free_ports, wait_until


@contextlib.contextmanager
def server(answer):
    """A port that reads something and gives this answer (None: stays silent)."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                s, _ = listener.accept()
                taken.append(s)
                if answer is not None:
                    s.recv(1000)
                    s.sendall(answer)
                    s.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for s in taken:
            s.close()


def doctor(cluster, *args, status, bootstrap=None):
    began = time.monotonic()
    r = cluster.tool("doctor", "--bootstrap-server", bootstrap or cluster.bootstrap, *args, check=False)
    assert r.returncode == status, r.stdout + r.stderr
    assert r.stderr == ""
    assert time.monotonic() - began < 30
    lines = r.stdout.splitlines()
    for line, after in zip(lines, lines[1:]):
        if line.startswith("FAIL "):
            assert after.startswith("     -> "), f"no cure below: {line}"
    return r.stdout


def failures(text):
    return [line for line in text.splitlines() if line.startswith("FAIL ")]


def test_a_healthy_cluster_is_well(shared_cluster):
    c = shared_cluster
    c.wait_brokers()
    said = doctor(c, "--zookeeper", c.connect, status=0)
    assert failures(said) == [] and "All is well" in said
    for b in c.brokers:
        assert f"ok   broker {b.id} advertises {b.address}: resolves to 127.0.0.1, connected, broker {b.id} answers\n" in said
    assert "3 brokers registered, the same as the brokers list" in said


def test_each_kind_of_wrong_port_is_told_apart(shared_cluster):
    c = shared_cluster
    (nobody,) = free_ports(1)
    http = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    alert = bytes([0x15, 3, 1, 0, 2, 2, 70])
    said = doctor(c, bootstrap=f"127.0.0.1:{nobody}", status=1)
    assert "connection refused" in said and "'listeners'" in said
    for answer, what in ((http, "does not speak the Kafka protocol"), (alert, "security.protocol=SSL"), (None, "no answer in time")):
        with server(answer) as port:
            said = doctor(c, "--timeout-ms", 500, bootstrap=f"127.0.0.1:{port}", status=1)
            assert f"ok   127.0.0.1:{port}: connected\n" in said
            assert len(failures(said)) == 1 and what in said, said
    said = doctor(c, bootstrap="no-such-host.invalid:9092", status=1)
    assert len(failures(said)) == 1 and "cannot be resolved" in said
    # one bad address does not keep the doctor from the good ones
    said = doctor(c, bootstrap=f"127.0.0.1:{nobody},{c.bootstrap}", status=1)
    assert len(failures(said)) == 1 and "broker 2 answers" in said


def test_wrong_usage_ends_with_2(shared_cluster):
    for args in ((), ("--bootstrap-server", "a:b"), ("--nonsense",), ("--bootstrap-server", "a:1", "--timeout-ms", "x")):
        r = shared_cluster.tool("doctor", *args, check=False)
        assert r.returncode == 2 and len(r.stderr.splitlines()) == 1 and r.stdout == "", (args, r)


def test_zookeeper_that_does_not_fit(shared_cluster):
    c = shared_cluster
    (nobody,) = free_ports(1)
    assert len(failures(doctor(c, "--timeout-ms", 1000, "--zookeeper", f"127.0.0.1:{nobody}", status=1))) == 1
    said = doctor(c, "--zookeeper", f"{c.connect}/elsewhere", status=1)
    assert len(failures(said)) == 1 and "chroot /elsewhere" in said
    zk = c.zk_client()
    try:
        assert not zk.exists("/elsewhere"), "the doctor made what it looked for"
    finally:
        zk.stop()
        zk.close()


def test_well_connections_are_not_called_a_well_cluster(make_cluster):
    c = make_cluster(count=2)
    c.create_topic("halved", 3, 2)
    c.wait_isr("halved", 3, 2)
    c.brokers[1].stop()
    c.wait_brokers()
    c.wait_isr("halved", 3, 1)
    said = doctor(c, bootstrap=c.brokers[0].address, status=0)
    assert "All is well for a client" in said
    assert "That is about connections: 3 partitions have fewer replicas in sync than replicas; 'kafuka-describe" in said


def advertise(cluster, addresses, inside=True):
    """Restarts the brokers so that some advertise other addresses to clients. inside: among themselves they use a listener that works.
    (The harness could not wait for such a cluster to start.)"""
    ports = free_ports(len(cluster.brokers))
    for b in cluster.brokers:
        b.stop()
    for b, port in zip(cluster.brokers, ports):
        outside = addresses.get(b.id, b.address)
        b.write_properties(advertised_listeners=f"PLAINTEXT://{outside}")
        if inside:
            b.write_properties(listeners=f"PLAINTEXT://{b.address},INSIDE://127.0.0.1:{port}",
                               advertised_listeners=f"PLAINTEXT://{outside},INSIDE://127.0.0.1:{port}",
                               listener_security_protocol_map="PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT", inter_broker_listener_name="INSIDE")
        b.start()
    everyone = {f"broker {x.id} advertises" for x in cluster.brokers}

    def lists_everyone(x):
        r = cluster.tool("doctor", "--bootstrap-server", x.address, check=False)
        listed = set(re.findall(r"broker \d+ advertises", r.stdout))
        assert listed == everyone, r.stdout
        return True

    for x in cluster.brokers if inside else ():
        wait_until(lambda x=x: lists_everyone(x), 20, f"broker {x.id} to list all brokers")


@pytest.mark.parametrize("host, what", [("no-such-host.invalid", "cannot be resolved here"), ("127.0.0.1", "connection refused")])
def test_an_advertised_address_of_another_place(make_cluster, host, what):
    (nobody,) = free_ports(1)
    c = make_cluster(count=2)
    well, ill = c.brokers
    advertise(c, {1: f"{host}:{nobody}"})

    said = doctor(c, bootstrap=well.address, status=1)
    (line,) = failures(said)
    assert line.startswith(f"FAIL broker 1 advertises {host}:{nobody}") and what in line
    assert f"advertised.listeners=PLAINTEXT://127.0.0.1:{nobody} " in said  # the host that did work, the broker's own port
    assert "broker 0 answers" in said

    said = doctor(c, bootstrap=ill.address, status=1)  # now the right address is known exactly
    assert len(failures(said)) == 1
    assert f"advertised.listeners=PLAINTEXT://{ill.address} " in said
    assert f"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{ill.address})" in said


def test_an_advertised_address_where_another_broker_answers(make_cluster):
    c = make_cluster(count=1)
    other = make_cluster(count=2, zookeeper=c.zookeeper, chroot="/other")
    advertise(c, {0: other.brokers[1].address})
    (line,) = failures(doctor(c, status=1))
    assert "a broker of another id answers there" in line
    assert "these are two clusters" in doctor(other, "--zookeeper", c.connect, status=1)


def test_an_advertised_address_that_not_even_the_controller_reaches(make_cluster):
    c = make_cluster(count=1)
    advertise(c, {0: "no-such-host.invalid:9092"}, inside=False)
    said = doctor(c, "--zookeeper", c.connect, status=1)
    assert "knows no live broker" in failures(said)[0] and f"e.g. PLAINTEXT://{c.brokers[0].address}" in said
    assert "broker 0 is registered in ZooKeeper, as no-such-host.invalid:9092, but not listed" in failures(said)[1]


def test_two_brokers_with_one_address(make_cluster):
    c = make_cluster(count=2)
    first = c.brokers[0].address
    advertise(c, {1: f"localhost:{c.brokers[0].port}"})  # another text: a broker refuses to start with the very same
    (line,) = failures(doctor(c, bootstrap=first, status=1))
    assert f"broker 1 advertises localhost:{c.brokers[0].port}, but broker 0 answers there" in line


def test_partitions_without_a_leader_are_counted(make_cluster):
    c = make_cluster(count=2)
    c.tool("topics", "--bootstrap-server", c.bootstrap, "--create", "--topic", "t", "--replica-assignment", "0,1,1")
    c.brokers[1].stop()
    wait_until(lambda: "2 of 3 partitions have no leader" in doctor(c, bootstrap=c.brokers[0].address, status=1), 30, "the partitions' loss")
