package chatserver

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Defaults of [Options].
const (
	DefaultMaxAge    = 30 * time.Minute
	DefaultDrainTime = 5 * time.Second
)

// Options configures a Server. The zero value means the defaults.
type Options struct {
	// MaxAge is how long a socket lives at most, less up to a fifth at random,
	// so that sockets opened together do not end together. Default
	// DefaultMaxAge.
	MaxAge time.Duration

	// DrainTime is the time over which Drain spreads its closing of sockets.
	// Default DefaultDrainTime.
	DrainTime time.Duration

	// PingEvery is how often a client is asked for a sign of life, and how long
	// that may take. Default 30 seconds.
	PingEvery time.Duration

	// WriteTimeout is how long a client may take for what waited for it.
	// Default 10 seconds.
	WriteTimeout time.Duration

	// Log is told what went wrong, and of draining. Default [slog.Default].
	Log *slog.Logger
}

// seats is how many people of a room are listed, for each process. It bounds
// what joining costs: beyond it, people come and go unannounced.
const seats = 50

// Server is the chat, as an [http.Handler]. Make one with [New], and call Drain
// in the end. All methods may be called concurrently.
type Server struct {
	bus     layer.Layer
	options Options
	mux     *http.ServeMux

	encoded, written atomic.Uint64

	mu       sync.Mutex
	draining bool
	sockets  map[*socket]struct{}
	taken    map[string]int // seats, by group
	serving  sync.WaitGroup // handlers of sockets; added to only while not draining
}

// New makes a server on bus, which stays the caller's to close, after Drain.
//
// Errors: [layer.ErrInvalidOption] for a negative option.
func New(bus layer.Layer, options Options) (*Server, error) {
	for _, o := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"MaxAge", &options.MaxAge, DefaultMaxAge},
		{"DrainTime", &options.DrainTime, DefaultDrainTime},
		{"PingEvery", &options.PingEvery, 30 * time.Second},
		{"WriteTimeout", &options.WriteTimeout, 10 * time.Second},
	} {
		if *o.value < 0 {
			return nil, &layer.Error{Op: "chat", Name: o.name, Err: fmt.Errorf("%w: %v is negative", layer.ErrInvalidOption, *o.value)}
		}
		*o.value = cmp.Or(*o.value, o.unset)
	}
	options.Log = cmp.Or(options.Log, slog.Default())
	s := &Server{
		bus:     bus,
		options: options,
		mux:     http.NewServeMux(),
		sockets: make(map[*socket]struct{}),
		taken:   make(map[string]int),
	}
	s.mux.HandleFunc("GET /{$}", servePage)
	s.mux.HandleFunc("GET /room/{title...}", serveRoom)
	s.mux.HandleFunc("GET /page/", serveFile)
	s.mux.HandleFunc("GET /socket", s.serveSocket)
	s.mux.HandleFunc("GET /healthz", s.serveHealth)
	return s, nil
}

// ServeHTTP serves the page, its sockets, and /healthz.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	s.mux.ServeHTTP(w, r)
}

//go:embed page
var files embed.FS

//go:embed page/index.html
var page []byte

func servePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page)
}

func serveRoom(w http.ResponseWriter, r *http.Request) {
	title := r.PathValue("title")
	if title == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if err := checkTitle(title); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	servePage(w, r)
}

func serveFile(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, files, r.URL.Path)
}

// serveHealth tells a load balancer whether to send clients here.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()

	status, code := "ready", http.StatusOK
	if err := layer.Ping(ctx, s.bus); err != nil {
		status, code = "the layer is away", http.StatusServiceUnavailable
		s.options.Log.Warn("not ready", "error", err)
	}
	if draining {
		status, code = "draining", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(struct {
		Status string `json:"status"`
		Stats
	}{status, s.Stats()})
}

// Stats tells what a server does. All but Sockets only grow. Written divided by
// Encoded is the number of sockets that shared a frame.
type Stats struct {
	Sockets int    `json:"sockets"` // open now
	Encoded uint64 `json:"encoded"` // messages made into a frame
	Written uint64 `json:"written"` // frames written to sockets
	Dropped uint64 `json:"dropped"` // messages the layer gave up, as for slow clients; 0 if it does not count
}

// Stats returns the counts. It does not block.
func (s *Server) Stats() Stats {
	bus, _ := layer.ReadStats(s.bus)
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Sockets: len(s.sockets),
		Encoded: s.encoded.Load(),
		Written: s.written.Load(),
		Dropped: bus.Dropped.Total(),
	}
}

// frameKey is the key under which a message keeps its frame.
type frameKey struct{}

// frame returns the message as the one frame that all sockets share.
func (s *Server) frame(msg layer.Message) ([]byte, error) {
	return msg.Encoded(frameKey{}, func() ([]byte, error) {
		s.encoded.Add(1)
		return msg.JSON()
	})
}

// takeSeat reports whether one more person of the room can be listed. If so,
// leaveSeat must follow.
func (s *Server) takeSeat(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[group] >= seats {
		return false
	}
	s.taken[group]++
	return true
}

func (s *Server) leaveSeat(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[group]--; s.taken[group] == 0 {
		delete(s.taken, group)
	}
}
