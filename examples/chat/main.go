// Chat is a chat server on a channel layer. Run it, and open the address that
// it prints in two windows.
package main

import (
	"context"
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
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run() error {
	var options chatserver.Options
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this `address`; port 0 picks a free one")
	redis := flag.String("redis", "", "`URL` of a Redis server, such as redis://127.0.0.1:6379, through which several of these programs are one chat")
	options.Flags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	bus, err := openBus(ctx, *redis, options.Log)
	if err != nil {
		return err
	}
	defer bus.Close()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("Chat: http://%s/\n", listener.Addr())
	return chatserver.Run(ctx, listener, bus, options)
}
