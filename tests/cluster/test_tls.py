# SPDX-License-Identifier: Apache-2.0
"""TLS listeners, between brokers too: tools and clients with certificates get through, others are told why not."""
import socket
import ssl
import subprocess

import confluent_kafka
import pytest
from cluster import answers, free_ports, wait_until


def openssl(folder, *args):
    subprocess.run(["openssl", *map(str, args)], cwd=folder, check=True, capture_output=True)


def make_certificate(folder, name, subject):
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
    (folder / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2, "-out",
            f"{name}.crt", "-extfile", f"{name}.ext")
    (folder / f"{name}.pem").write_text((folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for ca in ("ca", "otherca"):
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", 2, "-subj",
                f"/CN={ca}")
    make_certificate(folder, "broker", "/CN=broker")
    make_certificate(folder, "client", "/CN=client/O=tests")
    return folder


@pytest.fixture
def tls_cluster(make_cluster, certificates):
    """Three brokers that speak TLS to each other, and want certificates from clients."""
    c = make_cluster(options={
        "ssl.keystore.location": certificates / "broker.pem", "ssl.truststore.location": certificates / "ca.pem",
        "ssl.keystore.type": "PEM", "ssl.truststore.type": "PEM"})
    c.tls_ports = free_ports(3)
    for b, port in zip(c.brokers, c.tls_ports):
        b.stop()
        b.write_properties(listeners=f"PLAINTEXT://127.0.0.1:{b.port},SSL://127.0.0.1:{port}", ssl_client_auth="required",
                           security_inter_broker_protocol="SSL")
        b.start(wait=False)
    for b in c.brokers:
        b.wait_ready()
    c.wait_brokers()
    return c


def test_only_the_named_cipher_suites_are_accepted(make_cluster, certificates):
    (port,) = free_ports(1)
    c = make_cluster(count=1, options={"ssl.keystore.location": certificates / "broker.pem",
                                       "ssl.cipher.suites": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"})
    b = c.brokers[0]
    b.stop()
    b.write_properties(listeners=f"PLAINTEXT://127.0.0.1:{b.port},SSL://127.0.0.1:{port}")
    b.start()
    wait_until(lambda: answers(port), 30, "the TLS listener")

    def shake(cipher=None, newest=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificates / "ca.pem")
        if cipher:
            context.set_ciphers(cipher)
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", port), 10) as s, context.wrap_socket(s, server_hostname="localhost") as t:
            return t.cipher()[0]

    assert shake() == "ECDHE-RSA-AES256-GCM-SHA384"  # and no TLS 1.3, which has none of its own named
    for refused in ({"cipher": "ECDHE-RSA-AES128-GCM-SHA256"}, {"newest": True}):
        with pytest.raises(ssl.SSLError):
            shake(**refused)


def test_tls_between_brokers_and_to_clients(tls_cluster, certificates, tmp_path):
    c = tls_cluster
    bootstrap = f"127.0.0.1:{c.tls_ports[0]}"
    good, bad, none = (tmp_path / f"{n}.properties" for n in ("good", "bad", "none"))
    good.write_text(f"security.protocol=SSL\nssl.ca.location={certificates}/ca.pem\nssl.certificate.location={certificates}/client.crt\n"
                    f"ssl.key.location={certificates}/client.key\n")
    bad.write_text(f"security.protocol=SSL\nssl.ca.location={certificates}/otherca.pem\n")
    none.write_text(f"security.protocol=SSL\nssl.ca.location={certificates}/ca.pem\n")

    def tool(name, *args, **kwargs):
        return c.tool(name, "--bootstrap-server", bootstrap, *args, **kwargs)

    tool("topics", "--command-config", good, "--create", "--topic", "secret", "--partitions", 3, "--replication-factor", 3)
    c.wait_isr("secret", 3, 3)  # replication goes over TLS
    lines = "".join(f"{i}\n" for i in range(5000))
    tool("console-producer", "--topic", "secret", "--producer.config", good, stdin=lines)
    r = tool("console-consumer", "--topic", "secret", "--from-beginning", "--max-messages", 5000, "--consumer.config", good)
    assert sorted(r.stdout.split()) == sorted(lines.split())
    assert tool("describe", "--command-config", good).returncode == 0

    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bootstrap, "security.protocol": "SSL", "ssl.ca.location": str(certificates / "ca.pem"),
        "ssl.certificate.location": str(certificates / "client.crt"), "ssl.key.location": str(certificates / "client.key"), "group.id": "g",
        "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition("secret", p, 0) for p in range(3)])
    seen = []
    wait_until(lambda: seen.extend(m.value() for m in consumer.consume(1000, 0.2)) or len(seen) >= 5000, 30, "all records over TLS")
    consumer.close()
    assert sorted(seen) == sorted(lines.encode().split())

    for config in (bad, none, None):
        r = tool("topics", "--list", *(("--command-config", config) if config else ()), check=False)
        assert r.returncode == 1 and r.stderr.startswith(f"kafuka-topics: no broker can be reached: {bootstrap}: "), r.stderr
        assert len(r.stderr.splitlines()) == 1
    r = tool("console-producer", "--topic", "secret", "--producer.config", good, stdin="after the strangers\n")
    assert r.stderr == ""
