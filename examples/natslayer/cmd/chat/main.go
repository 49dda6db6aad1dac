// Chat is examples/chat on NATS: the same server, another layer. Without -nats
// it starts a NATS server within itself, which other instances can be pointed
// at.
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
	natslayer "github.com/channellayer/channellayer/examples/natslayer"
	"github.com/channellayer/channellayer/examples/natslayer/natstest"
	"github.com/channellayer/channellayer/layer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	options := chatserver.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "listen on this `address`; port 0 picks a free one")
	url := flags.String("nats", "", "`URL` of a NATS server, through which several of these programs are one chat")
	options.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *url == "" {
		server, err := natstest.Start(-1)
		if err != nil {
			return err
		}
		defer server.WaitForShutdown()
		defer server.Shutdown()
		*url = server.ClientURL()
	}
	bus, err := natslayer.Open(ctx, *url, natslayer.Options{
		Limits:     layer.Limits{MaxMessageSize: 64 << 10},
		GapMessage: chatserver.GapMessage,
	})
	if err != nil {
		return err
	}
	defer bus.Close()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("NATS: %s\nChat: http://%s/\n", *url, listener.Addr())
	return chatserver.Run(ctx, listener, bus, options)
}
