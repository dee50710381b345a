// SPDX-License-Identifier: Apache-2.0
//! rust-rdkafka behind the commands that ../README.md describes: driver COMMAND ARGUMENTS.
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{json, Value};
use std::error::Error;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

const T0: i64 = 1_700_000_000_000;
const LONG: Duration = Duration::from_secs(30);
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn say(line: Value) {
    println!("{line}");
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn read(m: &BorrowedMessage) {
    let header = m.headers().map(|h| text(h.get(0).value));
    say(json!({"partition": m.partition(), "offset": m.offset(), "timestamp": m.timestamp().to_millis(), "key": text(m.key()),
        "value": text(m.payload()), "header": header}));
}

/// Says where each record of a producer went.
struct Delivered;

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult, _: ()) {
        match result {
            Ok(m) => say(json!({"partition": m.partition(), "offset": m.offset(), "key": text(m.key())})),
            Err((e, _)) => panic!("not delivered: {e}"),
        }
    }
}

struct Driver {
    bootstrap: String,
}

impl Driver {
    fn conf(&self, more: &[(&str, &str)]) -> ClientConfig {
        let mut c = ClientConfig::new();
        c.set("bootstrap.servers", &self.bootstrap);
        for (name, value) in more {
            c.set(*name, *value);
        }
        c
    }

    fn admin(&self) -> Result<AdminClient<rdkafka::client::DefaultClientContext>> {
        Ok(self.conf(&[]).create()?)
    }

    fn metadata(&self) -> Result<()> {
        let c: BaseConsumer = self.conf(&[]).create()?;
        let found = c.fetch_metadata(None, LONG)?;
        let topics: Value = found.topics().iter().map(|t| (t.name().to_owned(), json!(t.partitions().len()))).collect();
        say(json!({"topics": topics}));
        Ok(())
    }

    fn produce(&self, topic: &str, codec: &str, count: usize) -> Result<()> {
        let conf = self.conf(&[("compression.type", codec), ("acks", "all"), ("linger.ms", "20")]);
        let p: BaseProducer<Delivered> = conf.create_with_context(Delivered)?;
        for n in 0..count {
            let (key, value) = (format!("k{n}"), format!("{topic} {n} {}", "v".repeat(200 + n % 500)));
            let header = n.to_string();
            let record = BaseRecord::to(topic).key(&key).payload(&value).partition(n as i32 % 3).timestamp(T0 + n as i64)
                .headers(OwnedHeaders::new().insert(Header { key: "n", value: Some(&header) }));
            p.send(record).map_err(|(e, _)| e)?;
        }
        p.flush(LONG)?;
        Ok(())
    }

    fn consume(&self, topic: &str, count: usize) -> Result<()> {
        let c: BaseConsumer = self.conf(&[("group.id", "unused"), ("enable.auto.commit", "false")]).create()?;
        let mut all = TopicPartitionList::new();
        for p in 0..3 {
            all.add_partition_offset(topic, p, Offset::Beginning)?;
        }
        c.assign(&all)?;
        for _ in 0..count {
            read(&c.poll(LONG).ok_or("records are missing")??);
        }
        Ok(())
    }

    fn group(&self, topic: &str, group: &str) -> Result<()> {
        let closed = Arc::new(AtomicBool::new(false));
        let leave = closed.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            leave.store(true, Ordering::SeqCst);
        });
        let c: BaseConsumer =
            self.conf(&[("group.id", group), ("auto.offset.reset", "earliest"), ("heartbeat.interval.ms", "500")]).create()?;
        c.subscribe(&[topic])?;
        while !closed.load(Ordering::SeqCst) {
            if let Some(m) = c.poll(Duration::from_millis(100)) {
                read(&m?);
            }
        }
        c.commit_consumer_state(CommitMode::Sync)?;
        Ok(()) // leaves where it is dropped
    }

    fn create(&self, topic: &str) -> Result<()> {
        let new = NewTopic::new(topic, 3, TopicReplication::Fixed(3)).set("retention.ms", "123456789");
        for r in futures::executor::block_on(self.admin()?.create_topics([&new], &AdminOptions::new()))? {
            r.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(())
    }

    fn configs(&self, topic: &str) -> Result<()> {
        let asked = [ResourceSpecifier::Topic(topic)];
        for r in futures::executor::block_on(self.admin()?.describe_configs(&asked, &AdminOptions::new()))? {
            let values: Value = r?.entries.into_iter().map(|e| (e.name, json!(e.value))).collect();
            say(json!({"configs": values}));
        }
        Ok(())
    }

    fn delete(&self, topic: &str) -> Result<()> {
        for r in futures::executor::block_on(self.admin()?.delete_topics(&[topic], &AdminOptions::new()))? {
            r.map_err(|(name, code)| format!("{name}: {code}"))?;
        }
        Ok(())
    }

    fn transaction(&self, id: &str) -> Result<()> {
        let p: BaseProducer = self.conf(&[("transactional.id", id)]).create()?;
        let began = Instant::now();
        let error = p.init_transactions(LONG).err().map_or(String::new(), |e| e.to_string());
        say(json!({"error": error, "seconds": began.elapsed().as_secs_f64()}));
        Ok(())
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["version"] = args[..] {
        let pinned = include_str!("Cargo.lock").split("name = \"rdkafka\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        let version = format!("{} (librdkafka {})", pinned.ok_or("no rdkafka in Cargo.lock")?, rdkafka::util::get_rdkafka_version().1);
        say(json!({"version": version}));
        return Ok(());
    }
    let d = Driver { bootstrap: args[1].to_owned() };
    match (args[0], &args[2..]) {
        ("metadata", []) => d.metadata(),
        ("produce", [topic, codec, count]) => d.produce(topic, codec, count.parse()?),
        ("consume", [topic, count]) => d.consume(topic, count.parse()?),
        ("group", [topic, group]) => d.group(topic, group),
        ("create", [topic]) => d.create(topic),
        ("configs", [topic]) => d.configs(topic),
        ("delete", [topic]) => d.delete(topic),
        ("transaction", [id]) => d.transaction(id),
        _ => Err("no such command".into()),
    }
}
