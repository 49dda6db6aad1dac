package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
)

// maxBelow bounds a job: this one takes seconds.
const maxBelow = 5_000_000

//go:embed page.html
var page string

// web takes jobs from people, and shows what workers tell. It knows nothing of
// workers: they may be elsewhere, be none, or come and go.
type web struct {
	bus    layer.Layer
	ending context.Context // ends when the web stops
}

// serve runs the web on listener until ctx ends.
func serve(ctx context.Context, listener net.Listener, bus layer.Layer) error {
	s := &web{bus: bus, ending: ctx}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, page)
	})
	mux.HandleFunc("POST /jobs", s.enqueue)
	mux.HandleFunc("GET /progress", s.watch)
	// Pages of other sites may not enqueue.
	handler := http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, 4<<10))
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(deadline)
}

// enqueue answers 202 with the job's id. Where it answers 503 the job was
// certainly not queued: asking again later is right. After a 504 it may be
// done, or not.
func (s *web) enqueue(w http.ResponseWriter, r *http.Request) {
	below, err := strconv.Atoi(r.FormValue("below"))
	if err != nil || below < 2 || below > maxBelow {
		http.Error(w, fmt.Sprintf("below must be a number from 2 to %d", maxBelow), http.StatusBadRequest)
		return
	}
	id := rand.Text()[:10]
	err = s.bus.Send(r.Context(), jobs, layer.NewMessage(map[string]any{"type": "job.count", "id": id, "below": below}))
	switch {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintln(w, id)
	case errors.Is(err, layer.ErrMaybeSent):
		http.Error(w, "job "+id+" may have been queued", http.StatusGatewayTimeout)
	case errors.Is(err, layer.ErrChannelFull):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many jobs wait", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "jobs cannot be queued now", http.StatusServiceUnavailable)
	}
}

// watch streams what workers tell (server-sent events) until the client leaves
// or the web stops. Each client is a channel in the group: one that is too slow
// loses what it cannot take, and delays nobody.
func (s *web) watch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	client, err := consumer.Open(ctx, s.bus, consumer.Options{Prefix: "watch"})
	if err == nil {
		defer client.Close()
		err = client.Join(ctx, progress)
	}
	if err != nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "cannot watch now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	event := []byte(": watching\n\n")
	for {
		out := http.NewResponseController(w)
		out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := w.Write(event); err != nil || out.Flush() != nil {
			return
		}
		// A comment now and then shows proxies, and us, that somebody is there.
		turn, cancel := context.WithTimeout(ctx, 25*time.Second)
		msg, err := client.Receive(turn)
		cancel()
		switch {
		case err == nil:
			text, err := msg.JSON() // made once for all who watch
			if err != nil {
				text = []byte(`{}`) // not from our workers: JSON has no such number
			}
			event = fmt.Appendf(nil, "data: %s\n\n", text)
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			event = []byte(":\n\n")
		default:
			return
		}
	}
}
