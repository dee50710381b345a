// SPDX-License-Identifier: Apache-2.0

// The Go clients behind the commands that ../README.md describes: driver CLIENT COMMAND ARGUMENTS.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

const t0 = 1700000000000

// client is what every library is asked to do.
type client interface {
	metadata()
	produce(topic, codec string, count int)
	consume(topic string, count int)
	group(topic, group string, leave <-chan struct{})
	create(topic string)
	configs(topic string)
	delete(topic string)
	transaction(id string) error
}

type record struct {
	n, partition       int
	key, value, header string
	timestamp          time.Time
}

func records(topic string, count int) []record {
	out := make([]record, count)
	for n := range out {
		out[n] = record{n, n % 3, fmt.Sprintf("k%d", n), fmt.Sprintf("%s %d %s", topic, n, strings.Repeat("v", 200+n%500)),
			strconv.Itoa(n), time.UnixMilli(t0 + int64(n))}
	}
	return out
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		debug.PrintStack()
		os.Exit(1)
	}
}

func must2[T any](v T, err error) T {
	must(err)
	return v
}

type fields map[string]any

func say(line fields) {
	must(json.NewEncoder(os.Stdout).Encode(line))
}

func written(partition int, offset int64, key []byte) {
	say(fields{"partition": partition, "offset": offset, "key": string(key)})
}

func read(partition int, offset int64, at time.Time, key, value, header []byte) {
	say(fields{"partition": partition, "offset": offset, "timestamp": at.UnixMilli(), "key": string(key), "value": string(value),
		"header": string(header)})
}

// limited is the context of everything that must end by itself.
func limited() context.Context {
	ctx, _ := context.WithTimeout(context.Background(), 40*time.Second) //nolint:govet // the process ends before
	return ctx
}

func versionOf(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == module {
			return strings.TrimPrefix(d.Version, "v")
		}
	}
	return "unknown"
}

var clients = map[string]struct {
	module string
	open   func(bootstrap []string) client
}{
	"franz-go":           {"github.com/twmb/franz-go", openFranz},
	"sarama":             {"github.com/IBM/sarama", openSarama},
	"kafka-go":           {"github.com/segmentio/kafka-go", openKafkaGo},
	"confluent-kafka-go": {"github.com/confluentinc/confluent-kafka-go/v2", openConfluent},
}

func main() {
	known := clients[os.Args[1]]
	command, args := os.Args[2], os.Args[3:]
	if command == "version" {
		say(fields{"version": versionOf(known.module)})
		return
	}
	c := known.open(strings.Split(args[0], ","))
	switch command {
	case "metadata":
		c.metadata()
	case "produce":
		c.produce(args[1], args[2], must2(strconv.Atoi(args[3])))
	case "consume":
		c.consume(args[1], must2(strconv.Atoi(args[2])))
	case "group":
		leave := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(leave)
		}()
		c.group(args[1], args[2], leave)
	case "create":
		c.create(args[1])
	case "configs":
		c.configs(args[1])
	case "delete":
		c.delete(args[1])
	case "transaction":
		began, text := time.Now(), ""
		if err := c.transaction(args[1]); err != nil {
			text = err.Error()
		}
		say(fields{"error": text, "seconds": time.Since(began).Seconds()})
	default:
		must(fmt.Errorf("no command %q", command))
	}
}
