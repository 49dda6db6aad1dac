package layer_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

type (
	keyA struct{}
	keyB struct{}
)

func text1() layer.Message { return layer.NewMessage(map[string]any{"text": "hello"}) }

func TestEncodedOnceForManyGoroutines(t *testing.T) {
	m := text1()
	var calls [2]atomic.Int32
	encode := func(which int) func() ([]byte, error) {
		return func() ([]byte, error) {
			calls[which].Add(1)
			return []byte{byte(which)}, nil
		}
	}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 64 {
		copied := m
		wg.Go(func() {
			<-start
			for which, key := range []any{keyA{}, keyB{}} {
				got, err := copied.Encoded(key, encode(which))
				if err != nil || len(got) != 1 || got[0] != byte(which) {
					t.Errorf("goroutine %d got %v, %v for key %T", i, got, err, key)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	for which := range calls {
		require.Equal(t, int32(1), calls[which].Load(), "calls of encode for key %d", which)
	}
}

func TestEncodedKeepsErrors(t *testing.T) {
	m := text1()
	broken := errors.New("broken")
	_, err := m.Encoded(keyA{}, func() ([]byte, error) { return nil, broken })
	require.Equal(t, broken, err)
	_, err = m.Encoded(keyA{}, func() ([]byte, error) { return []byte("late"), nil })
	require.Equal(t, broken, err)
}

func TestEncodedSurvivesAPanic(t *testing.T) {
	m := text1()
	inside, waiting := make(chan struct{}), make(chan error)
	go func() {
		<-inside
		_, err := m.Encoded(keyA{}, func() ([]byte, error) { return nil, nil })
		waiting <- err
	}()
	require.PanicsWithValue(t, "boom", func() {
		_, _ = m.Encoded(keyA{}, func() ([]byte, error) { close(inside); panic("boom") })
	})
	require.EqualError(t, <-waiting, "layer: an earlier call to encode panicked")
	_, err := m.Encoded(keyA{}, func() ([]byte, error) { return []byte("late"), nil })
	require.EqualError(t, err, "layer: an earlier call to encode panicked")
	got, err := m.Encoded(keyB{}, func() ([]byte, error) { return []byte("other"), nil })
	require.NoError(t, err, "another key is not affected")
	require.Equal(t, "other", string(got))
}

func TestEncodedRefusesKeysThatCannotBeCompared(t *testing.T) {
	m := text1()
	_, err := m.Encoded(keyA{}, func() ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	for _, key := range []any{nil, []int{1}, map[string]int{}, func() {}, struct{ v any }{[]int{1}}, [1]any{[]int{}}} {
		for range 2 {
			_, err := m.Encoded(key, func() ([]byte, error) { return nil, errors.New("encode was called") })
			require.EqualError(t, err, "encoded: layer: the key must be a comparable value", "key %T", key)
		}
	}
}

func TestEncodedOfTheZeroMessage(t *testing.T) {
	calls := 0
	for range 2 {
		got, err := layer.Message{}.Encoded(keyA{}, func() ([]byte, error) { calls++; return []byte("x"), nil })
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	}
	require.Equal(t, 2, calls)
}

func TestEncodedAllocatesOnce(t *testing.T) {
	m := text1()
	frame := []byte("frame")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = m.Encoded(keyA{}, func() ([]byte, error) { return frame, nil })
	}), "Encoded")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = m.JSON() }), "JSON")
}

func TestAnEncodingMayAskForAnother(t *testing.T) {
	m := text1()
	got, err := m.Encoded(keyA{}, func() ([]byte, error) {
		return m.Encoded(keyB{}, func() ([]byte, error) { return m.JSON() })
	})
	require.NoError(t, err)
	require.Equal(t, `{"text":"hello"}`, string(got))
}
