package chatserver

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/layer"
)

// stragglers is how long, after the last socket was asked to close, clients
// have to answer before they are cut off.
const stragglers = 3 * time.Second

// Flags defines the flags -max-age and -drain on flags, for programs that run
// a Server.
func (o *Options) Flags(flags *flag.FlagSet) {
	flags.DurationVar(&o.MaxAge, "max-age", DefaultMaxAge, "close each socket at about this `age`; its page reconnects")
	flags.DurationVar(&o.DrainTime, "drain", DefaultDrainTime, "on SIGTERM, close sockets spread over this `time`")
}

// Run serves the chat on listener until ctx ends, then drains it and returns
// nil. The bus stays the caller's to close.
func Run(ctx context.Context, listener net.Listener, bus layer.Layer, options Options) error {
	chat, err := New(bus, options)
	if err != nil {
		return err
	}
	log := chat.options.Log
	server := &http.Server{
		Handler:           chat,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), chat.options.DrainTime+stragglers)
	defer cancel()
	log.Info("draining", "sockets", chat.Stats().Sockets, "over", chat.options.DrainTime)
	if err := chat.Drain(deadline); err != nil {
		log.Warn("drained by force", "error", err)
	}
	// The sockets are gone: what is left are requests for a few small files.
	if err := server.Shutdown(deadline); err != nil {
		server.Close()
	}
	if failed == nil {
		failed = <-served
	}
	if errors.Is(failed, http.ErrServerClosed) {
		return nil
	}
	return failed
}

// Drain makes /healthz report 503, refuses new sockets, and closes those there
// are with StatusGoingAway, in random order, spread over Options.DrainTime: so
// their clients arrive elsewhere one by one. It returns when all are gone. When
// ctx ends it cuts off those that are left, and returns ctx's error.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	open := make([]*socket, 0, len(s.sockets))
	for k := range s.sockets {
		open = append(open, k)
	}
	s.mu.Unlock()
	rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })

	gone := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(gone)
	}()
	var closing sync.WaitGroup
	defer closing.Wait()
	next := time.NewTimer(0)
	defer next.Stop()
	pause := s.options.DrainTime / time.Duration(max(1, len(open)))
	for {
		select {
		case <-next.C:
			if len(open) == 0 {
				continue // wait for those that were asked
			}
			k := open[0]
			open = open[1:]
			closing.Go(func() { k.close(websocket.StatusGoingAway, "the server is going away") })
			next.Reset(pause)
		case <-gone:
			return nil
		case <-ctx.Done():
			s.cutOff()
			<-gone
			return ctx.Err()
		}
	}
}

func (s *Server) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.sockets {
		k.cancel()
	}
}

// admit reports whether a socket may be opened. If so, serving.Done must
// follow.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.serving.Add(1)
	return true
}

// register adds a socket to those that Drain closes, unless that has begun.
func (s *Server) register(k *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.sockets[k] = struct{}{}
	return true
}

func (s *Server) unregister(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, k)
}
