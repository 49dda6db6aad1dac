package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// told is what a worker tells, as the web passes it on.
type told struct {
	Type, ID, Worker string
	Below, Primes    int
}

// site is a web server's address, and a client of it.
type site struct {
	t   *testing.T
	ctx context.Context
	at  string
	*http.Client
}

func visit(t *testing.T, at string) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	transport := &http.Transport{}
	t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
	})
	return &site{t, ctx, at, &http.Client{Transport: transport}}
}

// post asks for a job.
func (s *site) post(below any, header http.Header) (status int, retryAfter, text string) {
	s.t.Helper()
	form := url.Values{"below": {fmt.Sprint(below)}}
	r, err := http.NewRequestWithContext(s.ctx, "POST", "http://"+s.at+"/jobs", strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for key := range header {
		r.Header.Set(key, header.Get(key))
	}
	answer, err := s.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Retry-After"), strings.TrimSpace(string(body))
}

// queue asks until the job is queued, as a client should, and returns its id.
func (s *site) queue(below int) string {
	s.t.Helper()
	for {
		status, retryAfter, text := s.post(below, nil)
		switch {
		case status == http.StatusAccepted:
			return text
		case status != http.StatusServiceUnavailable || retryAfter == "":
			s.t.Fatalf("POST /jobs below=%d gave %d, Retry-After %q: %s; want 202, or 503 with a Retry-After", below, status, retryAfter, text)
		}
		time.Sleep(50 * time.Millisecond) // sooner than asked, for the test's sake
	}
}

// watch returns what workers tell from now on. It is closed when the web stops.
func (s *site) watch() <-chan told {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.ctx, "GET", "http://"+s.at+"/progress", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("GET /progress: %v, %v", answer, err)
	}
	lines := bufio.NewScanner(answer.Body)
	if !lines.Scan() || lines.Text() != ": watching" {
		s.t.Fatalf("GET /progress began with %q", lines.Text())
	}
	all := make(chan told, 10_000)
	go func() {
		defer close(all)
		defer answer.Body.Close()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var m told
				if json.Unmarshal([]byte(data), &m) == nil {
					all <- m
				}
			}
		}
	}()
	return all
}

// next returns the next thing told of this type.
func (s *site) next(all <-chan told, kind string) told {
	s.t.Helper()
	for {
		select {
		case m, ok := <-all:
			if !ok {
				s.t.Fatalf("the web stopped telling before %s", kind)
			}
			if m.Type == kind {
				return m
			}
		case <-s.ctx.Done():
			s.t.Fatalf("no %s came: %v", kind, s.ctx.Err())
		}
	}
}

// start runs web and workers on memlayer as the program does; stop ends them as
// SIGTERM does, and wait returns what run would.
func start(t *testing.T, run func(context.Context, net.Listener, layer.Layer) error) (s *site, stop func(), wait func() error) {
	t.Helper()
	bus, err := openBus(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = run(ctx, listener, bus)
	}()
	wait = func() error {
		select {
		case <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("it has not ended in %v", patience)
		}
	}
	t.Cleanup(func() {
		stop()
		<-ended
		bus.Close()
	})
	return visit(t, listener.Addr().String()), stop, wait
}

func withWorkers(n int) func(context.Context, net.Listener, layer.Layer) error {
	return func(ctx context.Context, listener net.Listener, bus layer.Layer) error {
		return both(ctx, listener, bus, n, slog.New(slog.DiscardHandler))
	}
}

func TestJobsAreDone(t *testing.T) {
	s, _, _ := start(t, withWorkers(3))
	all := s.watch()
	want := map[string]int{} // primes, by id
	for range 30 {
		want[s.queue(1000)] = 168
		want[s.queue(10_000)] = 1229
	}
	for len(want) > 0 {
		m := s.next(all, "job.done")
		if primes, ok := want[m.ID]; !ok || m.Primes != primes {
			t.Fatalf("a worker told %+v, want one of the jobs that are not done yet, and their primes: %v", m, want)
		}
		delete(want, m.ID)
	}
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	s, stop, wait := start(t, withWorkers(1))
	all := s.watch()
	id := s.queue(300_000)
	s.next(all, "job.started")
	s.queue(300_000) // waits behind it
	stop()
	if m := s.next(all, "job.done"); m.ID != id {
		t.Errorf("done is %+v, want job %s", m, id)
	}
	if err := wait(); err != nil {
		t.Errorf("it ended with %v, want nil", err)
	}
	for m := range all {
		t.Errorf("after the stop a worker told %+v, want that it takes no more", m)
	}
}

func TestTooManyJobs(t *testing.T) {
	s, _, _ := start(t, serve) // no workers
	for i := range 100 {
		if status, _, text := s.post(1000, nil); status != http.StatusAccepted {
			t.Fatalf("job %d gave %d: %s, want 202", i, status, text)
		}
	}
	if status, retryAfter, text := s.post(1000, nil); status != http.StatusServiceUnavailable || retryAfter != "1" {
		t.Errorf("job 101 gave %d, Retry-After %q: %s, want 503 and 1", status, retryAfter, text)
	}
}

func TestBadRequests(t *testing.T) {
	s, _, _ := start(t, serve)
	for _, below := range []any{"", "x", 1, -5, maxBelow + 1, "1e3"} {
		if status, _, text := s.post(below, nil); status != http.StatusBadRequest {
			t.Errorf("below=%v gave %d: %s, want 400", below, status, text)
		}
	}
	evil := http.Header{"Origin": {"http://evil.example"}}
	if status, _, text := s.post(1000, evil); status != http.StatusForbidden {
		t.Errorf("a page of another origin got %d: %s, want 403", status, text)
	}
}
