// Package job is the work that the programs beside router-worker do: for each
// update one delivery to each of its recipients.
package job

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

const maxUpdateBytes = 64 << 10

// Job is what a program is to do, read from the configuration of a worker.
type Job struct {
	URL        string // of the NATS servers
	Subjects   wire.Subjects
	shards     int
	recipients map[presence.UserID][]presence.UserID // by user
}

// config is as much of a worker's configuration as the job needs.
type config struct {
	NATS struct {
		URL string `json:"url"`
	} `json:"nats"`
	Streams struct {
		Prefix string `json:"subject_prefix"`
	} `json:"streams"`
	Modules []struct {
		Config struct {
			Routes []struct {
				Recipients []presence.UserID `json:"recipients"`
				Users      []presence.UserID `json:"users"`
			} `json:"routes"`
		} `json:"config"`
	} `json:"modules"`
}

// FromArgs returns the job that the file after --config describes.
func FromArgs() (*Job, error) {
	path := flag.String("config", "", "`file` of a worker's configuration, as JSON")
	flag.Parse()
	data, err := os.ReadFile(*path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	const shards = 16 // as is the default of a worker
	j := &Job{URL: c.NATS.URL, shards: shards, recipients: make(map[presence.UserID][]presence.UserID)}
	if j.Subjects, err = wire.NewSubjects(c.Streams.Prefix); err != nil {
		return nil, err
	}
	for _, m := range c.Modules {
		for _, route := range m.Config.Routes {
			for _, user := range route.Users {
				j.recipients[user] = append(j.recipients[user], route.Recipients...)
			}
		}
	}
	return j, nil
}

// Deliver decodes an update and calls publish with the subject and the data of each
// delivery.
func (j *Job) Deliver(update []byte, sequence uint64, publish func(subject string, data []byte) error) error {
	state, err := wire.DecodeUpdate(update, sequence, maxUpdateBytes)
	if err != nil {
		return err
	}
	for _, recipient := range j.recipients[state.UserID] {
		data := wire.AppendDelivery(nil, wire.Delivery{Recipient: recipient, Epoch: 1, States: []presence.UserState{state}})
		subject := j.Subjects.Delivery(wire.Local, wire.Shard(wire.Local, recipient, j.shards), recipient)
		if err := publish(subject, data); err != nil {
			return fmt.Errorf("publish to %s: %w", subject, err)
		}
	}
	return nil
}
