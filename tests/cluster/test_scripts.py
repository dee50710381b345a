# SPDX-License-Identifier: Apache-2.0
"""The scripts with Kafka's names and the config files beside them: the classic quickstart, and what starts and stops what."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from cluster import BUILD, SANITIZER_ENV, TOP, ZooKeeper, answers, free_ports, wait_until

TOOLS = ["topics", "console-producer", "console-consumer", "consumer-groups"]
SCRIPTS = ["kafka-server-start", "kafka-server-stop", "zookeeper-server-start", "zookeeper-server-stop", "zookeeper-shell"]


class Folder:
    """An installation of its own, so that kafka-server-stop finds only what it started."""

    def __init__(self, top):
        self.top, self.home = top, top / "libexec" / "kafuka"
        (top / "bin").mkdir(parents=True)
        # copies: the scripts follow links, and would find the broker that the other tests run
        for program in ("kafuka-broker", "kafuka"):
            shutil.copy(BUILD / program, top / "bin")
        shutil.copytree(TOP / "deploy" / "kafka", self.home)
        for name in SCRIPTS:
            (self.home / "bin" / f"{name}.sh").symlink_to(name)
        for name in TOOLS:
            for suffix in ("", ".sh"):
                (self.home / "bin" / f"kafka-{name}{suffix}").symlink_to(f"{top}/bin/kafuka")
        self.zk_port, self.port, self.other_port = free_ports(3)
        # the ports and folders of the files are everybody's
        for file in (self.home / "config").iterdir():
            text = file.read_text().replace("2181", str(self.zk_port)).replace("localhost:9092", f"localhost:{self.port}")
            text = text.replace("/tmp/zookeeper", f"{top}/zookeeper").replace("/tmp/kafka-logs", f"{top}/kafka-logs")
            file.write_text(text.replace("#listeners=PLAINTEXT://:9092", f"listeners=PLAINTEXT://:{self.port}"))

    def run(self, script, *args, stdin=None, check=True, env=None):
        # the output goes to files: a program in the background would keep a pipe open
        out, err = self.top / "out", self.top / "err"
        with open(out, "w") as o, open(err, "w") as e:
            r = subprocess.run([f"bin/{script}", *args], cwd=self.home, stdout=o, stderr=e, text=True, input=stdin, timeout=90,
                               env=dict(os.environ, **SANITIZER_ENV, **(env or {})))
        r.stdout, r.stderr = out.read_text(), err.read_text()
        assert not check or r.returncode == 0, f"{script} ended with {r.returncode}: {r.stdout}{r.stderr}"
        return r


@pytest.fixture
def kafka(tmp_path):
    folder = Folder(tmp_path / "kafka")
    yield folder
    folder.run("kafka-server-stop", check=False, env={"SIGNAL": "KILL"})
    folder.run("zookeeper-server-stop", check=False, env={"SIGNAL": "KILL"})


def test_the_classic_quickstart(kafka):
    kafka.run("zookeeper-server-start.sh", "-daemon", "config/zookeeper.properties")
    kafka.run("kafka-server-start.sh", "-daemon", "config/server.properties")
    assert "broker started" in (kafka.home / "logs" / "server.log").read_text()
    address = f"localhost:{kafka.port}"
    r = kafka.run("kafka-topics.sh", "--create", "--topic", "quickstart-events", "--bootstrap-server", address)
    assert r.stdout == "Created topic quickstart-events.\n"
    assert "PartitionCount: 1" in kafka.run("kafka-topics.sh", "--describe", "--topic", "quickstart-events", "--bootstrap-server", address).stdout
    kafka.run("kafka-console-producer.sh", "--topic", "quickstart-events", "--producer.config", "config/producer.properties",
              "--bootstrap-server", address, stdin="This is my first event\nThis is my second event\n")
    r = kafka.run("kafka-console-consumer.sh", "--topic", "quickstart-events", "--from-beginning", "--max-messages", "2", "--bootstrap-server", address,
                  "--consumer.config", "config/consumer.properties")
    assert r.stdout == "This is my first event\nThis is my second event\n"
    assert "test-consumer-group" in kafka.run("kafka-consumer-groups.sh", "--bootstrap-server", address, "--list").stdout
    assert re.search(r"^\[0\]$", kafka.run("zookeeper-shell.sh", f"localhost:{kafka.zk_port}", "ls", "/brokers/ids").stdout, re.M)
    kafka.run("kafka-server-stop.sh")
    wait_until(lambda: "broker stopped" in (kafka.home / "logs" / "server.log").read_text(), 30, "the broker to stop")
    kafka.run("zookeeper-server-stop.sh")
    wait_until(lambda: not answers(kafka.zk_port), 30, "ZooKeeper to stop")


def test_one_broker_of_two_is_stopped_by_its_id(kafka):
    kafka.run("zookeeper-server-start", "-daemon", "config/zookeeper.properties")
    kafka.run("kafka-server-start", "-daemon", "config/server.properties")
    r = kafka.run("kafka-server-start", "-daemon", "config/server.properties", "--override", "broker.id=7", "--override",
                  f"listeners=PLAINTEXT://:{kafka.other_port}", "--override", f"log.dirs={kafka.top}/kafka-logs-7", env={"LOG_DIR": f"{kafka.top}/logs-7"})
    assert r.stderr == "" and "broker started" in (kafka.top / "logs-7" / "server.log").read_text()
    r = kafka.run("kafka-server-stop", "--node-id=3", check=False)
    assert (r.returncode, r.stdout) == (1, "No kafka server to stop\n")
    r = kafka.run("kafka-server-stop", "--process-role=controller", check=False)
    assert (r.returncode, r.stdout) == (1, "No kafka server to stop\n")
    kafka.run("kafka-server-stop", "--node-id", "7")
    wait_until(lambda: not answers(kafka.other_port), 30, "broker 7 to stop")
    assert answers(kafka.port)
    kafka.run("kafka-server-stop", "--process-role=broker")
    wait_until(lambda: "broker stopped" in (kafka.home / "logs" / "server.log").read_text(), 30, "broker 0 to stop")
    r = kafka.run("kafka-server-stop", check=False)
    assert (r.returncode, r.stdout) == (1, "No kafka server to stop\n")


def test_mistakes_are_said(kafka):
    def fails(*args, env=None):
        r = kafka.run(*args, check=False, env=env)
        assert r.returncode == 1, r.stdout
        return r.stdout + r.stderr

    assert fails("kafka-server-start.sh").startswith("USAGE: bin/kafka-server-start.sh [-daemon] server.properties")
    assert fails("zookeeper-server-start.sh").startswith("USAGE: ")
    assert fails("zookeeper-shell.sh").startswith("USAGE: ")
    assert f"did you mean {kafka.home}/config/server.properties?" in fails("kafka-server-start", "server.properties")
    assert "there is no file /no/such" in fails("zookeeper-server-start", "-daemon", "/no/such")
    assert "unknown argument '--nod-id=1'" in fails("kafka-server-stop", "--nod-id=1")
    assert "--node-id takes a number, not 'x'" in fails("kafka-server-stop", "--node-id=x")
    assert fails("zookeeper-server-stop") == "No zookeeper server to stop\n"
    assert "set LOG_DIR" in fails("kafka-server-start", "-daemon", "config/server.properties", env={"LOG_DIR": "/proc/none"})
    assert "ZooKeeper is not installed" in fails("zookeeper-server-start", "config/zookeeper.properties", env={"KAFUKA_ZOOKEEPER_JAR": "/none"})
    # a start that fails is seen by who started it, in the background too
    broken = kafka.home / "config" / "broken.properties"
    broken.write_text("num.network.threads=many\n")
    assert "num.network.threads=many is not allowed" in fails("kafka-server-start", "-daemon", "config/broken.properties")
    broken.write_text(f"dataDir=/proc/none\nclientPort={kafka.other_port}\n")
    assert "ZooKeeper ended; its log is" in fails("zookeeper-server-start", "-daemon", "config/broken.properties")


def test_quickstart_shows_the_last_line_of_a_broker_that_ends_at_start(tmp_path):
    zookeeper = ZooKeeper(tmp_path / "zk")
    zookeeper.start()
    folder = tmp_path / "quick"
    (folder / "install" / "bin").mkdir(parents=True)
    for name in ("kafuka-broker", "kafuka-healthcheck"):
        (folder / "install" / "bin" / name).symlink_to(BUILD / ("kafuka-broker" if name == "kafuka-broker" else "kafuka"))
    (port,) = free_ports(1)

    def quickstart(*args):
        argv = [TOP / "deploy" / "quickstart", *args, "--dir", folder, "--port", port, "--zk-port", zookeeper.port]
        with open(tmp_path / "said", "w") as out:
            r = subprocess.run(list(map(str, argv)), stdout=out, stderr=subprocess.STDOUT, timeout=90, env=dict(os.environ, **SANITIZER_ENV))
        return r.returncode, (tmp_path / "said").read_text()

    try:
        assert quickstart("start", "0") == (0, "broker 0 started\n")
        assert quickstart("down")[0] == 0
        meta = folder / "data-0" / "meta.properties"
        meta.write_text(re.sub(r"cluster.id=.*", "cluster.id=AAAAAAAAAAAAAAAAAAAAAA", meta.read_text()))
        status, said = quickstart("start", "0")
        assert status == 1 and "quickstart: broker-0 ended: kafuka-broker: " in said and "belong to cluster AAAAAAAAAAAAAAAAAAAAAA" in said
    finally:
        quickstart("down")
        zookeeper.kill()


def test_a_zookeeper_that_listens_and_does_not_answer_is_not_waited_for_without_end(kafka):
    silent = kafka.top / "java"
    silent.write_text("#!/usr/bin/env python3\nimport os, signal, socket\nopen('%s/pid', 'w').write(str(os.getpid()))\ns = socket.create_server(('127.0.0.1', %d))\nsignal.alarm(60)\n"
                      "kept = []\nwhile True:\n    kept.append(s.accept())\n" % (kafka.top, kafka.zk_port))
    silent.chmod(0o755)
    (kafka.top / "home" / "bin").mkdir(parents=True)
    (kafka.top / "home" / "bin" / "java").symlink_to(silent)
    started = time.monotonic()
    kafka.run("zookeeper-server-start", "-daemon", "config/zookeeper.properties", env={"JAVA_HOME": f"{kafka.top}/home"})
    took = time.monotonic() - started
    assert answers(kafka.zk_port)
    os.kill(int((kafka.top / "pid").read_text()), signal.SIGKILL)
    assert took < 40
