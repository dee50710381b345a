// SPDX-License-Identifier: Apache-2.0
// One member of a consumer group on Kafka's own Java consumer that writes down what happens to it, in the form of
// tests/cluster/group_member.py. Arguments: --bootstrap --group --topic --log --assignor range|roundrobin|sticky|cooperative-sticky
// [--instance-id I] [--session-ms N] [--commit-ms N] [--name N]. SIGTERM: commits, leaves, ends.
import java.io.FileOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

public class GroupMember implements ConsumerRebalanceListener {
    static final Map<String, String> ASSIGNORS = Map.of(
        "range", "org.apache.kafka.clients.consumer.RangeAssignor",
        "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
        "sticky", "org.apache.kafka.clients.consumer.StickyAssignor",
        "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    final FileOutputStream log;
    final KafkaConsumer<byte[], byte[]> consumer;
    final TreeSet<String> owned = new TreeSet<>();
    final Map<TopicPartition, OffsetAndMetadata> position = new HashMap<>();
    volatile boolean stop;

    GroupMember(Map<String, String> o) throws Exception {
        log = new FileOutputStream(o.get("log"), true);
        int session = Integer.parseInt(o.getOrDefault("session-ms", "6000"));
        Properties p = new Properties();
        p.put("bootstrap.servers", o.get("bootstrap"));
        p.put("group.id", o.get("group"));
        p.put("client.id", o.getOrDefault("name", "member"));
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", session);
        p.put("heartbeat.interval.ms", Math.max(200, session / 6));
        p.put("metadata.max.age.ms", 2000);
        p.put("reconnect.backoff.max.ms", 1000);
        p.put("fetch.max.wait.ms", 100);
        p.put("default.api.timeout.ms", 20000);
        StringBuilder assignors = new StringBuilder();
        for (String a : o.getOrDefault("assignor", "range").split(","))
            assignors.append(assignors.length() == 0 ? "" : ",").append(ASSIGNORS.get(a));
        p.put("partition.assignment.strategy", assignors.toString());
        if (o.containsKey("instance-id"))
            p.put("group.instance.id", o.get("instance-id"));
        p.put("key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        p.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        consumer = new KafkaConsumer<>(p);
    }

    static String list(Collection<String> names) {
        StringBuilder b = new StringBuilder("[");
        for (String n : names)
            b.append(b.length() == 1 ? "\"" : ",\"").append(n).append('"');
        return b.append(']').toString();
    }

    // One write() a line, before what follows from it.
    void say(String event, String fields) {
        String line = String.format(Locale.ROOT, "{\"t\":%.6f,\"e\":\"%s\"%s}\n", System.nanoTime() / 1e9, event, fields);
        try {
            log.write(line.getBytes(StandardCharsets.UTF_8));
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    static TreeSet<String> names(Collection<TopicPartition> partitions) {
        TreeSet<String> names = new TreeSet<>();
        for (TopicPartition p : partitions)
            names.add(p.toString());
        return names;
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        TreeSet<String> given = names(partitions);
        owned.addAll(given);
        say("assigned", String.format(",\"generation\":%d,\"partitions\":%s,\"owned\":%s", consumer.groupMetadata().generationId(),
                                      list(given), list(owned)));
    }

    void taken(String event, Collection<TopicPartition> partitions) {
        owned.removeAll(names(partitions));
        position.keySet().removeAll(partitions);
        say(event, String.format(",\"partitions\":%s,\"owned\":%s", list(names(partitions)), list(owned)));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        commit();
        taken("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        taken("lost", partitions);
    }

    void commit() {
        if (position.isEmpty())
            return;
        StringBuilder b = new StringBuilder();
        position.forEach((p, o) -> b.append(b.length() == 0 ? "\"" : ",\"").append(p).append("\":").append(o.offset()));
        try {
            consumer.commitSync(new HashMap<>(position));
            position.clear();
            say("committed", ",\"offsets\":{" + b + "}");
        } catch (WakeupException e) {
            throw e;
        } catch (Exception e) {
            String text = e.toString().replaceAll("[\"\\\\\\p{Cntrl}]", " ");
            say("commit_failed", ",\"offsets\":{" + b + "},\"error\":\"" + text.substring(0, Math.min(200, text.length())) + "\"");
        }
    }

    void run(String topic, long commitMs) {
        say("start", ",\"pid\":" + ProcessHandle.current().pid());
        consumer.subscribe(List.of(topic), this);
        long last = System.nanoTime();
        while (!stop) {
            StringBuilder b = new StringBuilder();
            try {
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(100))) {
                    TopicPartition p = new TopicPartition(r.topic(), r.partition());
                    b.append(b.length() == 0 ? "[\"" : ",[\"").append(p).append("\",").append(r.offset()).append(']');
                    position.put(p, new OffsetAndMetadata(r.offset() + 1));
                }
            } catch (WakeupException e) {
                continue;
            }
            if (b.length() > 0)
                say("records", ",\"r\":[" + b + "]");
            if (System.nanoTime() - last > commitMs * 1000000) {
                last = System.nanoTime();
                commit();
            }
        }
        commit();
        consumer.close();
        say("closed", "");
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> o = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2)
            o.put(args[i].substring(2), args[i + 1]);
        GroupMember m = new GroupMember(o);
        CountDownLatch done = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            m.stop = true;
            try {
                done.await(20, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        try {
            m.run(o.get("topic"), Long.parseLong(o.getOrDefault("commit-ms", "200")));
        } finally {
            done.countDown();
        }
    }
}
