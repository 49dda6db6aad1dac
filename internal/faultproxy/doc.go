// Package faultproxy is a TCP proxy on loopback that does to a connection what
// networks do: it loses replies, goes silent, delays, cuts, refuses. Faults are
// switched while traffic flows.
//
//	proxy := faultproxy.New(t, server.Addr())
//	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), MaxRetries: -1})
//	lost := proxy.DropReplies(1, faultproxy.Containing("xadd"))
//	err := client.XAdd(ctx, ...).Err() // the server has it; the client gets io.EOF
//	<-lost
//
// # Requests
//
// Some faults pick a connection by what the client sends. A request, here, is
// what the client sent since the server's last bytes, so a pipeline is one
// request; a request of several packets is shown again as it grows. The proxy
// knows no protocol.
//
// # Concurrency
//
// All methods may be called from any goroutine, at any time before the end of
// the test.
package faultproxy
