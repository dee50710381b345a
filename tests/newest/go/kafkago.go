// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct {
	bootstrap []string
	*kafka.Client
}

func openKafkaGo(bootstrap []string) client {
	return kafkaGo{bootstrap, &kafka.Client{Addr: kafka.TCP(bootstrap...), Timeout: 20 * time.Second}}
}

func (k kafkaGo) metadata() {
	topics := map[string]int{}
	for _, t := range must2(k.Metadata(limited(), &kafka.MetadataRequest{})).Topics {
		must(t.Error)
		topics[t.Name] = len(t.Partitions)
	}
	say(fields{"topics": topics})
}

func (k kafkaGo) produce(topic, codec string, count int) {
	numbers := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	var lock sync.Mutex
	w := kafka.Writer{Addr: k.Addr, Topic: topic, Compression: numbers[codec], RequiredAcks: kafka.RequireAll, BatchSize: count,
		BatchTimeout: 50 * time.Millisecond,
		Balancer: kafka.BalancerFunc(func(m kafka.Message, partitions ...int) int {
			var n int
			must2(fmt.Sscanf(string(m.Key), "k%d", &n))
			return partitions[n%len(partitions)]
		}),
		Completion: func(messages []kafka.Message, err error) {
			must(err)
			lock.Lock()
			defer lock.Unlock()
			for _, m := range messages {
				written(m.Partition, m.Offset, m.Key)
			}
		}}
	var batch []kafka.Message
	for _, r := range records(topic, count) {
		batch = append(batch, kafka.Message{Key: []byte(r.key), Value: []byte(r.value), Time: r.timestamp,
			Headers: []kafka.Header{{Key: "n", Value: []byte(r.header)}}})
	}
	must(w.WriteMessages(limited(), batch...))
	must(w.Close())
}

func (k kafkaGo) read(m kafka.Message) {
	read(m.Partition, m.Offset, m.Time, m.Key, m.Value, m.Headers[0].Value)
}

func (k kafkaGo) consume(topic string, count int) {
	all, ctx := make(chan kafka.Message), limited()
	for p := 0; p < 3; p++ {
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: k.bootstrap, Topic: topic, Partition: p, MaxWait: 200 * time.Millisecond})
		go func() {
			for {
				m, err := r.ReadMessage(ctx)
				must(err)
				all <- m
			}
		}()
	}
	for ; count > 0; count-- {
		k.read(<-all)
	}
}

func (k kafkaGo) group(topic, group string, leave <-chan struct{}) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: k.bootstrap, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset,
		MaxWait: 200 * time.Millisecond, HeartbeatInterval: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-leave
		cancel()
	}()
	for {
		m, err := r.ReadMessage(ctx)
		if errors.Is(err, context.Canceled) {
			break
		}
		must(err)
		k.read(m)
	}
	must(r.Close())
}

func (k kafkaGo) create(topic string) {
	r := must2(k.CreateTopics(limited(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3,
		ReplicationFactor: 3, ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "123456789"}}}}}))
	must(r.Errors[topic])
}

func (k kafkaGo) configs(topic string) {
	r := must2(k.DescribeConfigs(limited(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}}}))
	values := map[string]string{}
	for _, resource := range r.Resources {
		must(resource.Error)
		for _, e := range resource.ConfigEntries {
			values[e.ConfigName] = e.ConfigValue
		}
	}
	say(fields{"configs": values})
}

func (k kafkaGo) delete(topic string) {
	must(must2(k.DeleteTopics(limited(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})).Errors[topic])
}

func (k kafkaGo) transaction(id string) error {
	r, err := k.InitProducerID(limited(), &kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 60000})
	if err != nil {
		return err
	}
	return r.Error
}
