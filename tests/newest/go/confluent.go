// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

type confluent struct{ bootstrap string }

func openConfluent(bootstrap []string) client { return confluent{strings.Join(bootstrap, ",")} }

func (c confluent) conf(more ...string) *ck.ConfigMap {
	m := &ck.ConfigMap{"bootstrap.servers": c.bootstrap}
	for i := 0; i < len(more); i += 2 {
		must(m.SetKey(more[i], more[i+1]))
	}
	return m
}

func (c confluent) admin() *ck.AdminClient { return must2(ck.NewAdminClient(c.conf())) }

func (c confluent) metadata() {
	topics := map[string]int{}
	for name, t := range must2(c.admin().GetMetadata(nil, true, 20000)).Topics {
		topics[name] = len(t.Partitions)
	}
	say(fields{"topics": topics})
}

func (c confluent) produce(topic, codec string, count int) {
	p := must2(ck.NewProducer(c.conf("compression.type", codec, "acks", "all", "linger.ms", "20")))
	delivered := make(chan ck.Event, count)
	for _, r := range records(topic, count) {
		must(p.Produce(&ck.Message{TopicPartition: ck.TopicPartition{Topic: &topic, Partition: int32(r.partition)}, Key: []byte(r.key),
			Value: []byte(r.value), Timestamp: r.timestamp, Headers: []ck.Header{{Key: "n", Value: []byte(r.header)}}}, delivered))
	}
	for ; count > 0; count-- {
		m := (<-delivered).(*ck.Message)
		must(m.TopicPartition.Error)
		written(int(m.TopicPartition.Partition), int64(m.TopicPartition.Offset), m.Key)
	}
}

func (c confluent) read(m *ck.Message) {
	read(int(m.TopicPartition.Partition), int64(m.TopicPartition.Offset), m.Timestamp, m.Key, m.Value, m.Headers[0].Value)
}

func (c confluent) consume(topic string, count int) {
	consumer := must2(ck.NewConsumer(c.conf("group.id", "unused", "enable.auto.commit", "false")))
	var all []ck.TopicPartition
	for p := int32(0); p < 3; p++ {
		all = append(all, ck.TopicPartition{Topic: &topic, Partition: p, Offset: 0})
	}
	must(consumer.Assign(all))
	for ; count > 0; count-- {
		c.read(must2(consumer.ReadMessage(30 * time.Second)))
	}
	must(consumer.Close())
}

func (c confluent) group(topic, group string, leave <-chan struct{}) {
	consumer := must2(ck.NewConsumer(c.conf("group.id", group, "auto.offset.reset", "earliest", "heartbeat.interval.ms", "500")))
	must(consumer.Subscribe(topic, nil))
	for {
		select {
		case <-leave:
			must(consumer.Close())
			return
		default:
			switch e := consumer.Poll(100).(type) {
			case *ck.Message:
				c.read(e)
			case ck.Error:
				must(e)
			}
		}
	}
}

func (c confluent) create(topic string) {
	for _, r := range must2(c.admin().CreateTopics(limited(), []ck.TopicSpecification{{Topic: topic, NumPartitions: 3, ReplicationFactor: 3,
		Config: map[string]string{"retention.ms": "123456789"}}})) {
		must(result(r.Error))
	}
}

func result(e ck.Error) error {
	if e.Code() == ck.ErrNoError {
		return nil
	}
	return fmt.Errorf("%w", e)
}

func (c confluent) configs(topic string) {
	values := map[string]string{}
	for _, r := range must2(c.admin().DescribeConfigs(limited(), []ck.ConfigResource{{Type: ck.ResourceTopic, Name: topic}})) {
		must(result(r.Error))
		for name, e := range r.Config {
			values[name] = e.Value
		}
	}
	say(fields{"configs": values})
}

func (c confluent) delete(topic string) {
	for _, r := range must2(c.admin().DeleteTopics(limited(), []string{topic})) {
		must(result(r.Error))
	}
}

func (c confluent) transaction(id string) error {
	return must2(ck.NewProducer(c.conf("transactional.id", id))).InitTransactions(limited())
}
