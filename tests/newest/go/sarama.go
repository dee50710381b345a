// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct{ bootstrap []string }

func openSarama(bootstrap []string) client { return saramaClient{bootstrap} }

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.ApiVersionsRequest = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Return.Errors = true
	return c
}

func (s saramaClient) admin() sarama.ClusterAdmin {
	return must2(sarama.NewClusterAdmin(s.bootstrap, saramaConfig()))
}

func (s saramaClient) metadata() {
	topics := map[string]int32{}
	for name, t := range must2(s.admin().ListTopics()) {
		topics[name] = t.NumPartitions
	}
	say(fields{"topics": topics})
}

func (s saramaClient) produce(topic, codec string, count int) {
	c := saramaConfig()
	must(c.Producer.Compression.UnmarshalText([]byte(codec)))
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	var batch []*sarama.ProducerMessage
	for _, r := range records(topic, count) {
		batch = append(batch, &sarama.ProducerMessage{Topic: topic, Partition: int32(r.partition), Key: sarama.StringEncoder(r.key),
			Value: sarama.StringEncoder(r.value), Timestamp: r.timestamp,
			Headers: []sarama.RecordHeader{{Key: []byte("n"), Value: []byte(r.header)}}})
	}
	p := must2(sarama.NewSyncProducer(s.bootstrap, c))
	must(p.SendMessages(batch))
	for _, m := range batch {
		written(int(m.Partition), m.Offset, []byte(m.Key.(sarama.StringEncoder)))
	}
	must(p.Close())
}

func (s saramaClient) read(m *sarama.ConsumerMessage) {
	read(int(m.Partition), m.Offset, m.Timestamp, m.Key, m.Value, m.Headers[0].Value)
}

func (s saramaClient) consume(topic string, count int) {
	c := must2(sarama.NewConsumer(s.bootstrap, saramaConfig()))
	all := make(chan *sarama.ConsumerMessage)
	for p := int32(0); p < 3; p++ {
		of := must2(c.ConsumePartition(topic, p, sarama.OffsetOldest))
		go func() {
			for m := range of.Messages() {
				all <- m
			}
		}()
		go func() {
			for err := range of.Errors() {
				must(err)
			}
		}()
	}
	ctx := limited()
	for ; count > 0; count-- {
		select {
		case m := <-all:
			s.read(m)
		case <-ctx.Done():
			must(fmt.Errorf("%d records are missing", count))
		}
	}
}

type saramaMember struct {
	of    saramaClient
	lines *sync.Mutex
}

func (saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.lines.Lock()
		m.of.read(message)
		m.lines.Unlock()
		session.MarkMessage(message, "")
	}
	return nil
}

func (s saramaClient) group(topic, group string, leave <-chan struct{}) {
	c := saramaConfig()
	c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	g := must2(sarama.NewConsumerGroup(s.bootstrap, group, c))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-leave
		cancel()
	}()
	go func() {
		for err := range g.Errors() {
			must(err)
		}
	}()
	for ctx.Err() == nil {
		must(g.Consume(ctx, []string{topic}, saramaMember{s, &sync.Mutex{}}))
	}
	must(g.Close())
}

func (s saramaClient) create(topic string) {
	value := "123456789"
	must(s.admin().CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 3,
		ConfigEntries: map[string]*string{"retention.ms": &value}}, false))
}

func (s saramaClient) configs(topic string) {
	values := map[string]string{}
	for _, e := range must2(s.admin().DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})) {
		values[e.Name] = e.Value
	}
	say(fields{"configs": values})
}

func (s saramaClient) delete(topic string) { must(s.admin().DeleteTopic(topic)) }

func (s saramaClient) transaction(id string) error {
	c := saramaConfig()
	c.Producer.Idempotent = true
	c.Producer.Transaction.ID = id
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Net.MaxOpenRequests = 1
	c.Producer.Return.Successes = true
	_, err := sarama.NewSyncProducer(s.bootstrap, c)
	return err
}
