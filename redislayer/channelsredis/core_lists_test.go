package channelsredis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// A list of members that has come before is found again, encrypted or not; a
// member that is gone since then is a drop and nobody else's loss.
func TestCoreLists(t *testing.T) {
	for name, keys := range map[string][]string{"plain": nil, "encrypted": {"secret"}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			open := func() *Core {
				c, err := OpenCore(ctx, []string{server.URL()}, Options{SymmetricEncryptionKeys: keys})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, c.Close()) })
				return c
			}
			sender, receiver := open(), open()
			var members []string
			add := func() {
				channel, err := receiver.NewChannel(ctx, "")
				require.NoError(t, err)
				require.NoError(t, receiver.GroupAdd(ctx, "g", channel))
				members = append(members, channel)
			}
			for range 10 {
				add()
			}
			n, wantLists := 0, func(want int, when string) {
				t.Helper()
				receiver.lists.mu.Lock()
				defer receiver.lists.mu.Unlock()
				require.Len(t, receiver.lists.m, want, when)
			}
			send := func() {
				t.Helper()
				n++
				require.NoError(t, sender.GroupSend(ctx, "g", layer.NewMessage(map[string]any{"type": "t", "n": n})))
				for _, channel := range members {
					msg, err := receiver.Receive(ctx, channel)
					require.NoError(t, err)
					require.Equal(t, map[string]any{"type": "t", "n": int64(n)}, msg.Map(), "what %s got", channel)
				}
			}
			for range 3 {
				send()
				wantLists(1, "as long as the members stay the same")
			}
			add()
			send()
			wantLists(2, "with one member more")

			gone := members[0]
			members = members[1:]
			receiver.process.Mailboxes().Release(gone) // and Redis has not been told
			send()
			require.Equal(t, uint64(1), receiver.Stats().Dropped[layer.DropClosed])
		})
	}
}

// A list with a name of another process is read each time, and that name
// counted.
func TestCoreListOfAnother(t *testing.T) {
	ctx := t.Context()
	server := redistest.Start(t, redistest.Config{})
	c, err := OpenCore(ctx, []string{server.URL()}, Options{})
	require.NoError(t, err)
	defer c.Close()
	channel, err := c.NewChannel(ctx, "")
	require.NoError(t, err)
	names := make([]string, 10)
	for i := range names {
		names[i] = channel
	}
	names[3] = "specific." + strings.Repeat("f", 32) + "!" + strings.Repeat("e", 32)
	member, err := c.encode(layer.NewMessage(map[string]any{"type": "a"}), names)
	require.NoError(t, err)
	for n := range 2 {
		c.takeOwn(c.hosts[0].writer, "", []entry{{string(member), fmt.Sprint(time.Now().Unix())}})
		for range 9 {
			_, err := c.Receive(ctx, channel)
			require.NoError(t, err)
		}
		require.Equal(t, uint64(n+1), c.Stats().Dropped[layer.DropUndecodable])
	}
	require.Empty(t, c.lists.m)
}

func TestListsAreBounded(t *testing.T) {
	l := lists{m: map[string]address{}}
	for n := range 100 {
		l.put(fmt.Sprintf("%d%s", n, strings.Repeat("x", maxLists/10)), address{refs: []mailbox.Ref{{}}})
		total := 0
		for list := range l.m {
			total += len(list)
		}
		require.LessOrEqual(t, total, maxLists)
		require.Equal(t, total, l.bytes)
	}
	l.put(strings.Repeat("x", maxLists+1), address{})
	require.NotContains(t, l.m, strings.Repeat("x", maxLists+1))
}
