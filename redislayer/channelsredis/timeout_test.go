package channelsredis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A call that makes two round trips, each of which takes nearly all of the
// timeout, ends with the timeout, and not with an error of the caller's ctx.
func TestOneTimeoutForACall(t *testing.T) {
	const timeout, delay, most = time.Second, 900 * time.Millisecond, 1600 * time.Millisecond
	var proxies []*faultproxy.Proxy
	var urls []string
	for range 2 {
		proxy := faultproxy.New(t, redistest.Start(t, redistest.Config{}).Addr())
		proxies, urls = append(proxies, proxy), append(urls, "redis://"+proxy.Addr())
	}
	ctx := t.Context()
	one := openCoreOn(t, urls[:1], channelsredis.Options{Timeout: timeout})
	for n := range 101 { // too many for one round trip
		require.NoError(t, one.GroupAdd(ctx, "large", fmt.Sprint("jobs.", n)))
	}
	core := openCoreOn(t, urls, channelsredis.Options{Timeout: timeout})
	pubsub := openPubSub(t, urls, channelsredis.Options{Timeout: timeout})
	calls := map[string]func() error{
		"Core.GroupSend": func() error { return one.GroupSend(ctx, "large", note(1)) },
		"Core.Ping":      func() error { return core.Ping(ctx) },
		"PubSub.Ping":    func() error { return pubsub.Ping(ctx) },
	}
	for _, p := range proxies {
		p.Delay(faultproxy.ToClient, delay, 0)
	}
	type result struct {
		name string
		err  error
		took time.Duration
	}
	results := make(chan result)
	for name, call := range calls {
		go func() {
			began := time.Now()
			err := call()
			results <- result{name, err, time.Since(began)}
		}()
	}
	for range calls {
		r := <-results
		require.ErrorIs(t, r.err, layer.ErrUnavailable, "%s, after %v", r.name, r.took)
		require.NotErrorIs(t, r.err, context.DeadlineExceeded, r.name)
		require.Less(t, r.took, most, "%s took %v, with a timeout of %v: %v", r.name, r.took, timeout, r.err)
		if r.name == "Core.GroupSend" {
			require.ErrorIs(t, r.err, layer.ErrMaybeSent, r.name)
		}
	}
	for _, p := range proxies {
		p.Heal()
	}
}

func openCoreOn(t *testing.T, urls []string, o channelsredis.Options) *channelsredis.Core {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := channelsredis.OpenCore(ctx, urls, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
