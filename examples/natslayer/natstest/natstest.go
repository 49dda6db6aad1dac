// Package natstest starts a NATS server within the program, so that nothing
// need be installed to try the layer, or to test what uses it.
package natstest

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Start starts a server on 127.0.0.1, with messages of up to 8 MiB, and waits
// until it takes connections. Port -1 picks a free one. End it with Shutdown.
func Start(port int) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, MaxPayload: 8 << 20, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not take connections")
	}
	return s, nil
}
