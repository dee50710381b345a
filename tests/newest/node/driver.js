// SPDX-License-Identifier: Apache-2.0
// The clients of Node.js behind the commands that ../README.md describes: driver.js CLIENT COMMAND ARGUMENTS
'use strict';
const fs = require('fs');

const T0 = 1700000000000;
const say = (line) => fs.writeSync(1, JSON.stringify(line) + '\n');
const written = (partition, offset, key) => say({partition, offset: Number(offset), key: String(key)});
const read = (partition, m, header) => say({
    partition, offset: Number(m.offset), timestamp: Number(m.timestamp), key: String(m.key), value: String(m.value), header: String(header),
});

function records(topic, count) {
    return Array.from({length: count}, (_, n) => ({
        partition: n % 3, key: `k${n}`, value: `${topic} ${n} ${'v'.repeat(200 + n % 500)}`, timestamp: T0 + n, header: String(n),
    }));
}

// Resolves when standard input ends: the sign for a member to leave.
const stdinClosed = () => new Promise((resolve) => process.stdin.on('end', resolve).resume());

// done() resolves when `more` was called as many times as was asked for.
function counter(count) {
    let resolve;
    const all = new Promise((r) => { resolve = r; });
    return {done: () => all, more: () => { if (--count === 0) resolve(); }};
}

async function kafkajs(bootstrap) {
    const {Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel} = require('kafkajs');
    const LZ4 = require('kafkajs-lz4');
    CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');
    CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec;
    CompressionCodecs[CompressionTypes.ZSTD] = () => {
        const zstd = new Promise((resolve) => require('zstd-codec').ZstdCodec.run((z) => resolve(new z.Streaming())));
        return {
            compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
            decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
        };
    };
    const logged = [];
    const logCreator = () => ({log}) => {
        logged.push(`${log.message}: ${log.error}`);
        console.error(JSON.stringify(log));
    };
    const kafka = new Kafka({brokers: bootstrap.split(','), logLevel: logLevel.ERROR, logCreator});
    const withAdmin = async (call) => {
        const admin = kafka.admin();
        await admin.connect();
        try {
            return await call(admin);
        } finally {
            await admin.disconnect();
        }
    };
    const run = async (consumer, topic, more) => {
        consumer.on(consumer.events.CRASH, ({payload}) => { throw payload.error; });
        await consumer.connect();
        await consumer.subscribe({topic, fromBeginning: true});
        await consumer.run({eachMessage: async ({partition, message}) => {
            read(partition, message, message.headers.n);
            more();
        }});
    };
    return {
        async metadata() {
            const {topics} = await withAdmin((a) => a.fetchTopicMetadata());
            say({topics: Object.fromEntries(topics.map((t) => [t.name, t.partitions.length]))});
        },
        async produce(topic, codec, count) {
            const numbers = {none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
                lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD};
            const p = kafka.producer();
            await p.connect();
            const made = records(topic, count);
            const answer = await p.send({topic, acks: -1, compression: numbers[codec],
                messages: made.map((r) => ({...r, timestamp: String(r.timestamp), headers: {n: r.header}}))});
            for (const {partition, errorCode, baseOffset} of answer) {
                if (errorCode !== 0) throw new Error(`partition ${partition}: error ${errorCode}`);
                made.filter((r) => r.partition === partition).forEach((r, i) => written(partition, Number(baseOffset) + i, r.key));
            }
            await p.disconnect();
        },
        async consume(topic, count) {
            const consumer = kafka.consumer({groupId: `${topic}-read-by-kafkajs`, maxWaitTimeInMs: 200}); // it has no consumer without a group
            const {done, more} = counter(count);
            await run(consumer, topic, more);
            await done();
            await consumer.disconnect();
        },
        async group(topic, group) {
            const closed = stdinClosed();
            const consumer = kafka.consumer({groupId: group, heartbeatInterval: 500, maxWaitTimeInMs: 500});
            await run(consumer, topic, () => {});
            await closed;
            await consumer.disconnect();
        },
        create: (topic) => withAdmin((a) => a.createTopics({topics: [{topic, numPartitions: 3, replicationFactor: 3,
            configEntries: [{name: 'retention.ms', value: '123456789'}]}]})),
        async configs(topic) {
            const {resources} = await withAdmin((a) => a.describeConfigs({resources: [{type: ConfigResourceTypes.TOPIC, name: topic}]}));
            say({configs: Object.fromEntries(resources[0].configEntries.map((e) => [e.configName, e.configValue]))});
        },
        delete: (topic) => withAdmin((a) => a.deleteTopics({topics: [topic]})),
        async transaction(id) {
            const p = kafka.producer({transactionalId: id, idempotent: true, maxInFlightRequests: 1});
            await p.connect();
            try {
                await p.transaction();
            } catch (e) { // "Failed to find group coordinator"; the broker's reason is only logged
                e.message += ` (${logged.join('; ')})`;
                throw e;
            } finally {
                await p.disconnect();
            }
        },
    };
}

// node-rdkafka and its relative, the native half of @confluentinc/kafka-javascript
async function rdkafka(bootstrap, library) {
    const {Producer, KafkaConsumer, AdminClient} = library;
    const conf = {'bootstrap.servers': bootstrap};
    const call = (object, method, ...args) => new Promise((resolve, reject) => {
        object[method](...args, (error, result) => (error ? reject(error) : resolve(result)));
    });
    const withAdmin = async (method, ...args) => {
        const admin = AdminClient.create(conf);
        try {
            return await call(admin, method, ...args);
        } finally {
            admin.disconnect();
        }
    };
    const consumer = async (more, topicConf, each) => {
        const c = new KafkaConsumer({...conf, ...more}, topicConf);
        c.on('data', each);
        c.on('event.error', (error) => { throw error; });
        await call(c, 'connect', {});
        return c;
    };
    const said = (m) => read(m.partition, m, m.headers[0].n);
    return {
        async metadata() {
            const p = new Producer(conf);
            const {topics} = await call(p, 'connect', {allTopics: true, timeout: 20000});
            say({topics: Object.fromEntries(topics.map((t) => [t.name, t.partitions.length]))});
            await call(p, 'disconnect');
        },
        async produce(topic, codec, count) {
            const p = new Producer({...conf, 'compression.type': codec, 'linger.ms': 20, dr_cb: true}, {acks: -1});
            const {done, more} = counter(count);
            p.on('delivery-report', (error, report) => {
                if (error) throw error;
                written(report.partition, report.offset, report.key);
                more();
            });
            await call(p, 'connect', {});
            p.setPollInterval(20);
            for (const r of records(topic, count)) {
                p.produce(topic, r.partition, Buffer.from(r.value), r.key, r.timestamp, null, [{n: r.header}]);
            }
            await done();
            await call(p, 'disconnect');
        },
        async consume(topic, count) {
            const {done, more} = counter(count);
            const c = await consumer({'group.id': 'unused', 'enable.auto.commit': false}, {}, (m) => { said(m); more(); });
            c.assign([0, 1, 2].map((partition) => ({topic, partition, offset: 0})));
            c.consume();
            await done();
            await call(c, 'disconnect');
        },
        async group(topic, group) {
            const closed = stdinClosed();
            const c = await consumer({'group.id': group, 'heartbeat.interval.ms': 500}, {'auto.offset.reset': 'earliest'}, said);
            c.subscribe([topic]);
            c.consume();
            await closed;
            await call(c, 'disconnect');
        },
        create: (topic) => withAdmin('createTopic', {topic, num_partitions: 3, replication_factor: 3, config: {'retention.ms': '123456789'}}),
        delete: (topic) => withAdmin('deleteTopic', topic),
        async transaction(id) {
            const p = new Producer({...conf, 'transactional.id': id});
            await call(p, 'connect', {});
            try {
                await call(p, 'initTransactions', 30000);
            } finally {
                await call(p, 'disconnect');
            }
        },
    };
}

const clients = {
    kafkajs: {open: kafkajs},
    'node-rdkafka': {open: (bootstrap) => rdkafka(bootstrap, require('node-rdkafka'))},
    '@confluentinc/kafka-javascript': {open: (bootstrap) => rdkafka(bootstrap, require('@confluentinc/kafka-javascript'))},
};

async function main() {
    const [name, command, bootstrap, ...args] = process.argv.slice(2);
    if (command === 'version') {
        const {version, librdkafka} = require(`${name}/package.json`);
        say({version: librdkafka ? `${version} (librdkafka ${librdkafka})` : version});
        return;
    }
    const client = await clients[name].open(bootstrap);
    if (command !== 'transaction') {
        await client[command](...args.map((a) => (/^\d+$/.test(a) ? Number(a) : a)));
        return;
    }
    const began = Date.now();
    let error = '';
    try {
        await client.transaction(...args);
    } catch (e) {
        error = `${e.name}: ${e.message}`;
    }
    say({error, seconds: (Date.now() - began) / 1000});
}

main().then(() => process.exit(0), (e) => {
    console.error(e);
    process.exit(1);
});
