package caller

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// line is a connection that says when it was interrupted.
type line struct{ interrupted chan struct{} }

func (l *line) Interrupt() { l.interrupted <- struct{}{} }

func newLine() *line { return &line{make(chan struct{}, 1)} }

func TestTurnIsOneAtATime(t *testing.T) {
	var turn Turn[*line, int]
	require.Nil(t, turn.Claim(), "there is no connection")
	conn := newLine()
	turn.Begin(conn)
	require.Nil(t, turn.Claim(), "the owner has the turn")
	require.False(t, turn.Free())
	turn.Yield()
	require.True(t, turn.Free())
	require.Equal(t, conn, turn.Claim())
	require.False(t, turn.Free())
	require.Nil(t, turn.Claim(), "another caller has it")
	require.False(t, turn.Release(nil, nil), "nobody waits")
	require.Equal(t, conn, turn.Claim())
}

func TestTurnOwnerComesBeforeCallers(t *testing.T) {
	var turn Turn[*line, int]
	turn.Begin(newLine())
	turn.Yield()
	require.NotNil(t, turn.Claim())
	_, _, ok := turn.Take()
	require.False(t, ok, "a caller has it")
	require.True(t, turn.Release(nil, nil), "the owner waits")
	require.Nil(t, turn.Claim(), "the owner comes first")
	_, _, ok = turn.Take()
	require.True(t, ok)
	turn.Yield()
	require.NotNil(t, turn.Claim(), "the owner does not wait any more")
}

func TestTurnLeavesWorkToTheOwner(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		left   []int
		broken error
	}{{[]int{7}, nil}, {nil, failed}, {[]int{7}, failed}} {
		var turn Turn[*line, int]
		turn.Begin(newLine())
		turn.Yield()
		require.NotNil(t, turn.Claim())
		require.True(t, turn.Release(c.left, c.broken), "there is something to do")
		require.Nil(t, turn.Claim(), "before that is done")
		left, broken, ok := turn.Take()
		require.True(t, ok)
		require.Equal(t, c.left, left)
		require.Equal(t, c.broken, broken)
		left, broken, _ = turn.Take()
		require.Nil(t, left, "once")
		require.NoError(t, broken)
		turn.Yield()
		require.NotNil(t, turn.Claim())
	}
}

// The connection comes back when the caller that uses it has gone, however often
// the owner is woken before.
func TestTurnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var turn Turn[*line, int]
		wake := make(chan struct{}, 1)
		conn := &line{make(chan struct{}, 10)}
		turn.Begin(conn)
		turn.Yield()
		require.NotNil(t, turn.Claim())
		ended := make(chan []int)
		go func() {
			mu.Lock()
			left := turn.End(&mu, wake)
			mu.Unlock()
			ended <- left
		}()
		for range 3 {
			synctest.Wait()
			require.NotEmpty(t, conn.interrupted)
			<-conn.interrupted
			select {
			case <-ended:
				t.Fatal("ended while a caller had the turn")
			default:
			}
			wake <- struct{}{}
		}
		synctest.Wait()
		mu.Lock()
		require.Nil(t, turn.Conn())
		require.True(t, turn.Release([]int{1, 2}, errors.New("interrupted")))
		require.Nil(t, turn.Claim())
		mu.Unlock()
		wake <- struct{}{}
		require.Equal(t, []int{1, 2}, <-ended)
		require.False(t, turn.Free(), "the owner goes on to make another connection")
	})
}
