//go:build unix

// Django runs a Django site and a Go server that share one chat: who is on
// Django's page and who is on Go's talk to each other. It starts what it needs
// and stops it again; README.md tells more.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/channellayer/channellayer/examples/chat/chatserver"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "django:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var options chatserver.Options
	goAddr := flag.String("addr", "127.0.0.1:8080", "serve Go's page at this `address`; port 0 picks a free one")
	djangoAddr := flag.String("django", "127.0.0.1:8000", "serve Django's page at this `address`; port 0 picks a free one")
	redisURL := flag.String("redis", "", "`URL` of a Redis server, such as redis://127.0.0.1:6379; by default one is started")
	python := flag.String("python", "", "the Python `program` that has daphne, channels and channels_redis; by default python3 or /usr/bin/python3")
	options.Flags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	// First, so that an address that is taken costs no start of anything.
	goListener, err := net.Listen("tcp", *goAddr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	defer goListener.Close()
	djangoListener, err := net.Listen("tcp", *djangoAddr)
	if err != nil {
		return fmt.Errorf("-django: %w", err)
	}
	defer djangoListener.Close()

	ctx, programs, err := newPrograms(ctx)
	if err != nil {
		return err
	}
	defer func() {
		stopped := programs.stop()
		err = cmp.Or(programs.failure(), err, stopped)
	}()
	url := *redisURL
	if url == "" {
		if url, err = startRedis(ctx, programs); err != nil {
			return err
		}
	}
	bus, err := openBus(ctx, url, options.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	if err := startDjango(ctx, programs, *python, djangoListener.(*net.TCPListener), url); err != nil {
		return err
	}

	fmt.Printf("Django: http://%s/\nGo: http://%s/\n", djangoListener.Addr(), goListener.Addr())
	return chatserver.Run(ctx, goListener, bus, options)
}
