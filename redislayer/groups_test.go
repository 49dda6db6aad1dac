package redislayer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// What is wrong with the keys of one group, or of one process in it, is no
// concern of others whose messages leave in the same call.
func TestGroupsFailAlone(t *testing.T) {
	t.Run("one after the other", func(t *testing.T) {
		testGroupsFailAlone(t, func(_ *session, groups []string, send func(group string)) {
			for _, group := range groups {
				send(group)
			}
		})
	})
	t.Run("in one call", func(t *testing.T) {
		testGroupsFailAlone(t, func(s *session, groups []string, send func(group string)) {
			claim(t, s)
			var senders sync.WaitGroup
			for _, group := range groups {
				senders.Go(func() { send(group) })
			}
			require.Eventually(t, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.queued.Len() == len(groups)
			}, 10*time.Second, time.Millisecond)
			s.release(nil, nil)
			senders.Wait()
		})
	})
}

func testGroupsFailAlone(t *testing.T, sendAll func(s *session, groups []string, send func(group string))) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	start := func() *Layer {
		l, err := Open(ctx, server.URL(), Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		return l
	}
	a, b := start(), start()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	k := a.keys
	set := func(args ...any) { require.NoError(t, client.Do(ctx, args...).Err()) }
	lease := func(process string, fields ...any) { set(append([]any{"HSET", k.lease(process)}, fields...)...) }
	// With '-' before its name, a process comes before those that are well.
	set("SET", k.group("no-group"), "x")
	set("ZADD", k.group("no-slash"), 0, "p-foo")
	set("ZADD", k.group("no-inbox"), 0, "p-foo/1")
	lease("-foo", "i", 1, "n", 0, "b", 0, "rn", 0, "rb", 0)
	set("SET", k.inbox("-foo"), "x")
	set("ZADD", k.group("no-lease"), 0, "p-bar/1")
	set("SET", k.lease("-bar"), "x")
	set("ZADD", k.group("no-numbers"), 0, "p-baz/1")
	lease("-baz", "i", 1, "n", "many")
	set("XADD", k.inbox("-full"), "18446744073709551615-18446744073709551615", "e", "")
	set("ZADD", k.group("no-more-ids"), 0, "p-full/1")
	lease("-full", "i", 1, "n", 0, "b", 0, "rn", 0, "rb", 0)

	fine := map[string]bool{"good": true, "another": true, "no-slash": true,
		"no-group": false, "no-inbox": false, "no-lease": false, "no-numbers": false, "no-more-ids": false}
	channel, err := b.NewChannel(ctx, "")
	require.NoError(t, err)
	for group := range fine {
		if group != "no-group" {
			require.NoError(t, b.GroupAdd(ctx, group, channel))
		}
	}
	var results sync.Map
	sendAll(a.session, slices.Collect(maps.Keys(fine)), func(group string) {
		results.Store(group, a.GroupSend(ctx, group, layer.NewMessage(map[string]any{"type": "t", "group": group})))
	})
	for group, fine := range fine {
		result, _ := results.Load(group)
		err, _ := result.(error)
		if fine {
			require.NoError(t, err, "to group %q", group)
		} else {
			require.ErrorIs(t, err, layer.ErrUnavailable, "to group %q", group)
			require.ErrorIs(t, err, layer.ErrMaybeSent, "to group %q", group)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var got, want []string
	for group := range fine {
		if group != "no-group" {
			want = append(want, group)
			msg, err := b.Receive(ctx, channel)
			require.NoError(t, err, "after %q", got)
			got = append(got, msg.String("group"))
		}
	}
	require.ElementsMatch(t, want, got, "groups that a member in another process heard of")
}

// However many groups a server refuses to write, and however often, the log is
// told once, until it has taken all of them.
func TestRefusedGroupsAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	l, server := onMiniredis(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := t.Context()
	channel, err := l.NewChannel(ctx, "")
	require.NoError(t, err)
	for i := range 10 {
		require.NoError(t, l.GroupAdd(ctx, fmt.Sprint("group", i), channel))
	}
	spoil := func(spoilt bool) {
		for i := range 10 {
			key := l.keys.group(fmt.Sprint("group", i))
			server.Del(key)
			if spoilt {
				require.NoError(t, server.Set(key, "x"))
			}
		}
	}
	c := claim(t, l.session)
	defer l.session.release(nil, nil)
	log.Reset()
	for outage := range 2 {
		spoil(true)
		for range 3 {
			require.NoError(t, l.session.beat(ctx, c))
		}
		require.Equal(t, outage+1, strings.Count(log.String(), "groups=10"), "of the lines\n%s", log.String())
		spoil(false)
		require.NoError(t, l.session.beat(ctx, c))
	}
	require.Equal(t, 2, strings.Count(log.String(), "refused to write groups"), "of the lines\n%s", log.String())
}
