// Worker is a web server that hands jobs to workers through a channel layer,
// and shows what becomes of them. Run it, and open the address that it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
	"github.com/channellayer/channellayer/redislayer"
)

const usage = `usage: worker [flags]                      web and workers in this process
       worker -redis URL [flags] web       the web server alone
       worker -redis URL [flags] work      the workers alone
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run() error {
	redis := flag.String("redis", "", "`URL` of a Redis server, such as redis://127.0.0.1:6379, that connects web and workers")
	addr := flag.String("addr", "127.0.0.1:8090", "the web listens on this `address`; port 0 picks a free one")
	handlers := flag.Int("handlers", runtime.GOMAXPROCS(0), "how many jobs this process works on at once")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	role := flag.Arg(0)
	switch {
	case *handlers < 1:
		return fmt.Errorf("-handlers %d: at least 1 is needed", *handlers)
	case flag.NArg() > 1 || role != "" && role != "web" && role != "work":
		return fmt.Errorf("unexpected arguments %q\n%s", flag.Args(), usage)
	case role != "" && *redis == "":
		return fmt.Errorf("%s alone needs -redis: without it, nobody outside this process would know", role)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))

	bus, err := openBus(ctx, *redis, log)
	if err != nil {
		return err
	}
	defer bus.Close()
	if role == "work" {
		fmt.Printf("Working on %d jobs at once\n", *handlers)
		return work(ctx, bus, *handlers, log)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("Jobs: http://%s/\n", listener.Addr())
	if role == "web" {
		return serve(ctx, listener, bus)
	}
	return both(ctx, listener, bus, *handlers, log)
}

// both works and serves. The web ends last, so that whoever watches sees the
// jobs that are finished while the workers stop.
func both(ctx context.Context, listener net.Listener, bus layer.Layer, handlers int, log *slog.Logger) error {
	ctx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	serving, stopWeb := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWeb()
	served := make(chan error, 1)
	go func() {
		served <- serve(serving, listener, bus)
		stopWork() // if the web fails, nobody knows of the work
	}()
	err := work(ctx, bus, handlers, log)
	stopWeb()
	return errors.Join(err, <-served)
}

// What goes over the bus.
const (
	jobs     = "jobs"     // a normal channel: each job goes to one worker
	progress = "progress" // a group: what workers tell goes to whoever watches
)

func openBus(ctx context.Context, url string, log *slog.Logger) (layer.Layer, error) {
	limits := layer.Limits{
		// A job may wait this long for a worker. After that it is dropped.
		Expiry: 10 * time.Minute,
		CapacityRules: []layer.CapacityRule{
			{Pattern: jobs, Capacity: 100},         // beyond it the web says so, and the client waits
			{Pattern: "watch.*!*", Capacity: 1000}, // what workers tell may come in bursts
		},
	}
	if url == "" {
		return memlayer.New(memlayer.Options{Limits: limits})
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	bus, err := redislayer.Open(ctx, url, redislayer.Options{
		Limits:     limits,
		GapMessage: layer.NewMessage(map[string]any{"type": "gap"}), // whoever watches should know
		Logger:     log,
	})
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	return bus, nil
}
