// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct{ bootstrap []string }

func openFranz(bootstrap []string) client { return franz{bootstrap} }

func (f franz) open(opts ...kgo.Opt) *kgo.Client {
	return must2(kgo.NewClient(append(opts, kgo.SeedBrokers(f.bootstrap...))...))
}

func (f franz) admin() *kadm.Client { return kadm.NewClient(f.open()) }

func (f franz) metadata() {
	topics := map[string]int{}
	for name, t := range must2(f.admin().ListTopicsWithInternal(limited())) {
		topics[name] = len(t.Partitions)
	}
	say(fields{"topics": topics})
}

func (f franz) produce(topic, codec string, count int) {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	cl := f.open(kgo.ProducerBatchCompression(codecs[codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond))
	var batch []*kgo.Record
	for _, r := range records(topic, count) {
		batch = append(batch, &kgo.Record{Topic: topic, Partition: int32(r.partition), Key: []byte(r.key), Value: []byte(r.value),
			Timestamp: r.timestamp, Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(r.header)}}})
	}
	for _, result := range cl.ProduceSync(limited(), batch...) {
		must(result.Err)
		written(int(result.Record.Partition), result.Record.Offset, result.Record.Key)
	}
	cl.Close()
}

func (f franz) read(fetches kgo.Fetches) int {
	fetches.EachError(func(topic string, partition int32, err error) { must(fmt.Errorf("%s-%d: %w", topic, partition, err)) })
	fetches.EachRecord(func(r *kgo.Record) {
		read(int(r.Partition), r.Offset, r.Timestamp, r.Key, r.Value, r.Headers[0].Value)
	})
	return fetches.NumRecords()
}

func (f franz) consume(topic string, count int) {
	cl := f.open(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx := limited()
	for count > 0 {
		count -= f.read(cl.PollFetches(ctx))
	}
	cl.Close()
}

func (f franz) group(topic, group string, leave <-chan struct{}) {
	cl := f.open(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(500*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-leave
		cancel()
	}()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		f.read(fetches)
	}
	must(cl.CommitUncommittedOffsets(limited()))
	cl.Close()
}

func (f franz) create(topic string) {
	value := "123456789"
	r := must2(f.admin().CreateTopic(limited(), 3, 3, map[string]*string{"retention.ms": &value}, topic))
	must(r.Err)
}

func (f franz) configs(topic string) {
	values := map[string]*string{}
	for _, resource := range must2(f.admin().DescribeTopicConfigs(limited(), topic)) {
		must(resource.Err)
		for _, c := range resource.Configs {
			values[c.Key] = c.Value
		}
	}
	say(fields{"configs": values})
}

func (f franz) delete(topic string) {
	must(must2(f.admin().DeleteTopics(limited(), topic)).Error())
}

func (f franz) transaction(id string) error {
	cl := f.open(kgo.TransactionalID(id))
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	_, _, err := cl.ProducerID(limited())
	return err
}
