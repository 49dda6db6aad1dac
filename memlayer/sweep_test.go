package memlayer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

func TestExpiredMembershipsAreSweptBeforeMoreAreAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Options{Limits: layer.Limits{GroupExpiry: time.Minute}})
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		require.NoError(t, l.GroupAdd(t.Context(), "old", "worker"))
		time.Sleep(time.Minute)

		require.NoError(t, l.GroupAdd(t.Context(), "new", "worker"))
		synctest.Wait()
		require.Empty(t, l.groups.Sweep(), "groups with expired memberships that a GroupAdd a minute later left in memory")
	})
}
