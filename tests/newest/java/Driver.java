// SPDX-License-Identifier: Apache-2.0

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's Java client behind the commands that ../README.md describes: Driver COMMAND ARGUMENTS. */
public final class Driver {
    static final long T0 = 1700000000000L;
    static String bootstrap;

    static String json(Object o) {
        if (o instanceof Map<?, ?> m) {
            return m.entrySet().stream().map(e -> json(e.getKey()) + ":" + json(e.getValue())).collect(Collectors.joining(",", "{", "}"));
        }
        return o == null || o instanceof Number ? String.valueOf(o)
            : '"' + String.valueOf(o).replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
    }

    static synchronized void say(Object... fields) {
        Map<Object, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < fields.length; i += 2) {
            line.put(fields[i], fields[i + 1]);
        }
        System.out.println(json(line));
    }

    static Map<String, Object> conf(Object... more) {
        Map<String, Object> c = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "key.serializer", StringSerializer.class,
            "value.serializer", StringSerializer.class, "key.deserializer", StringDeserializer.class, "value.deserializer",
            StringDeserializer.class));
        for (int i = 0; i < more.length; i += 2) {
            c.put((String) more[i], more[i + 1]);
        }
        return c;
    }

    static void read(Iterable<ConsumerRecord<String, String>> records) {
        for (var r : records) {
            say("partition", r.partition(), "offset", r.offset(), "timestamp", r.timestamp(), "key", r.key(), "value", r.value(), "header",
                new String(r.headers().lastHeader("n").value()));
        }
    }

    static void metadata() throws Exception {
        try (var a = Admin.create(conf())) {
            Collection<String> names = a.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
            Map<Object, Object> topics = new HashMap<>();
            a.describeTopics(names).allTopicNames().get().forEach((name, t) -> topics.put(name, t.partitions().size()));
            say("topics", topics);
        }
    }

    static void produce(String topic, String codec, int count) throws Exception {
        try (var p = new KafkaProducer<String, String>(conf("compression.type", codec, "acks", "all", "linger.ms", 20))) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                var r = new ProducerRecord<>(topic, n % 3, T0 + n, "k" + n, topic + " " + n + " " + "v".repeat(200 + n % 500));
                r.headers().add("n", String.valueOf(n).getBytes());
                sent.add(p.send(r));
            }
            for (int n = 0; n < count; n++) {
                RecordMetadata m = sent.get(n).get();
                say("partition", m.partition(), "offset", m.offset(), "key", "k" + n);
            }
        }
    }

    static void consume(String topic, int count) {
        try (var c = new KafkaConsumer<String, String>(conf())) {
            c.assign(IntStream.range(0, 3).mapToObj(p -> new TopicPartition(topic, p)).toList());
            c.seekToBeginning(c.assignment());
            while (count > 0) {
                var records = c.poll(Duration.ofSeconds(30));
                if (records.isEmpty()) {
                    throw new IllegalStateException(count + " records are missing");
                }
                read(records);
                count -= records.count();
            }
        }
    }

    static void group(String topic, String group) throws Exception {
        var closed = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (java.io.IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
        });
        closed.start();
        var conf = conf("group.id", group, "auto.offset.reset", "earliest", "heartbeat.interval.ms", 500);
        try (var c = new KafkaConsumer<String, String>(conf)) {
            c.subscribe(List.of(topic));
            while (closed.isAlive()) {
                read(c.poll(Duration.ofMillis(100)));
            }
        }
    }

    static void create(String topic) throws Exception {
        try (var a = Admin.create(conf())) {
            a.createTopics(List.of(new NewTopic(topic, Optional.of(3), Optional.of((short) 3)).configs(Map.of("retention.ms", "123456789"))))
                .all().get();
        }
    }

    static void configs(String topic) throws Exception {
        try (var a = Admin.create(conf())) {
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            Map<Object, Object> values = new HashMap<>();
            a.describeConfigs(List.of(resource)).all().get().get(resource).entries().forEach(e -> values.put(e.name(), e.value()));
            say("configs", values);
        }
    }

    static void delete(String topic) throws Exception {
        try (var a = Admin.create(conf())) {
            a.deleteTopics(List.of(topic)).all().get();
        }
    }

    static void transaction(String id) {
        long began = System.nanoTime();
        String error = "";
        try (var p = new KafkaProducer<String, String>(conf("transactional.id", id))) {
            p.initTransactions();
        } catch (RuntimeException e) {
            error = e.toString();
        }
        say("error", error, "seconds", (System.nanoTime() - began) / 1e9);
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("version")) {
            var about = new Properties(); // a file of the client's jar
            try (var in = Driver.class.getResourceAsStream("/kafka/kafka-version.properties")) {
                about.load(in);
            }
            say("version", about.getProperty("version"));
            return;
        }
        bootstrap = args[1];
        switch (args[0]) {
            case "metadata" -> metadata();
            case "produce" -> produce(args[2], args[3], Integer.parseInt(args[4]));
            case "consume" -> consume(args[2], Integer.parseInt(args[3]));
            case "group" -> group(args[2], args[3]);
            case "create" -> create(args[2]);
            case "configs" -> configs(args[2]);
            case "delete" -> delete(args[2]);
            case "transaction" -> transaction(args[2]);
            default -> throw new IllegalArgumentException("no command " + args[0]);
        }
    }
}
