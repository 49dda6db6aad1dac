package redislayer_test

import (
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// lineTest runs scripts/line.lua on one server.
type lineTest struct {
	*testing.T
	client *redis.Client
}

// reply returns the reply to one operation.
func (t lineTest) reply(operation ...any) []any {
	t.Helper()
	args := append([]any{100, 60_000, 60_000}, operation...)
	reply, err := t.client.Eval(t.Context(), redislayer.LineScript, []string{"queue", "waiting", "aside"}, args...).Slice()
	require.NoError(t, err)
	return reply
}

// run returns who is to be woken, and the result of the one operation.
func (t lineTest) run(operation ...any) (woken []any, result any) {
	t.Helper()
	reply := t.reply(operation...)
	return reply[2].([]any), reply[4]
}

func (t lineTest) push(message string) (woken []any) {
	t.Helper()
	woken, result := t.run("push", message, "", "")
	require.EqualValues(t, 1, result)
	return woken
}

// fetch returns the messages, and the number of the first.
func (t lineTest) fetch(process string, id int, numbers string) (messages []string, first int64) {
	t.Helper()
	_, result := t.run("fetch", process, id, numbers)
	given := result.([]any)
	for i := 0; i < len(given); i += 3 {
		messages = append(messages, given[i+2].(string))
	}
	if len(given) > 0 {
		first = given[0].(int64)
	}
	return messages, first
}

// A fetch is answered in the same way however often it is repeated, and what
// nobody heard of, or nobody took, goes back to where it was.
func TestLineFetch(t *testing.T) {
	l := lineTest{t, redistest.Start(t, redistest.Config{}).Client(t)}
	for _, message := range []string{"a", "b", "c", "d"} {
		require.Empty(t, l.push(message), "woken, and nobody waits")
	}
	messages, _ := l.fetch("P", 1, "1 0")
	require.Equal(t, []string{"a"}, messages)
	messages, _ = l.fetch("P", 1, "1 0")
	require.Equal(t, []string{"a"}, messages, "asked once more")
	messages, _ = l.fetch("P", 3, "2 1")
	require.Equal(t, []string{"b", "c"}, messages, "a was heard of")
	messages, _ = l.fetch("P", 2, "5 1")
	require.Empty(t, messages, "a request that was run late")
	messages, first := l.fetch("P", 4, "2 1")
	require.Equal(t, []string{"b", "c"}, messages, "nobody heard of the answer to 3")
	messages, _ = l.fetch("P", 5, "1 4 "+strconv.FormatInt(first, 10))
	require.Equal(t, []string{"b"}, messages, "b found no receiver")
	messages, _ = l.fetch("P", 6, "0 5")
	require.Empty(t, messages)
	require.Zero(t, l.client.Exists(t.Context(), "waiting", "aside").Val(), "what is left of P")
	messages, _ = l.fetch("Q", 1, "9 0")
	require.Equal(t, []string{"d"}, messages)
	messages, _ = l.fetch("Q", 7, "9 6")
	require.Empty(t, messages, "d was received, whatever a server that was set back knows of it")
}

// Messages are set aside for those who wait longest, who are woken. Those of a
// process that is gone, or has fewer receivers now, go to the next.
func TestLineSetAside(t *testing.T) {
	l := lineTest{t, redistest.Start(t, redistest.Config{}).Client(t)}
	for _, process := range []string{"P", "Q"} {
		messages, _ := l.fetch(process, 1, "1 0")
		require.Empty(t, messages)
	}
	require.Equal(t, []any{"P"}, l.push("a"))
	require.Equal(t, []any{"Q"}, l.push("b"))
	require.Empty(t, l.push("c"), "nobody waits any more")
	woken, _ := l.run("gone", "P", "", "")
	require.Empty(t, woken, "Q's receiver has its message")
	messages, _ := l.fetch("Q", 2, "2 1")
	require.Equal(t, []string{"b", "a"}, messages, "what was Q's, then the oldest")
	messages, _ = l.fetch("R", 1, "0 0")
	require.Empty(t, messages)
	messages, _ = l.fetch("R", 2, "2 1")
	require.Equal(t, []string{"c"}, messages)
	require.Equal(t, []any{"R"}, l.push("d"))
	messages, _ = l.fetch("S", 1, "1 0")
	require.Empty(t, messages, "d is R's")
	woken, _ = l.run("fetch", "R", 3, "0 2")
	require.Equal(t, []any{"S"}, woken, "R has no receiver any more")
	messages, _ = l.fetch("S", 2, "1 1")
	require.Equal(t, []string{"d"}, messages)
	woken, _ = l.run("prune", "", "", "")
	require.Empty(t, woken)
}

// What a server that was set back gave to a request that came late was given to
// nobody, or for the second time: it is dropped, and counted.
func TestLineSetBack(t *testing.T) {
	l := lineTest{t, redistest.Start(t, redistest.Config{}).Client(t)}
	l.push("a")
	l.push("b")
	messages, _ := l.fetch("P", 4, "1 3") // the server has forgotten 1 to 3, and 5 to 7
	require.Equal(t, []string{"a"}, messages)
	reply := l.reply("fetch", "P", 8, "1 7")
	require.EqualValues(t, 1, reply[1], "dropped")
	require.Len(t, reply[4], 3, "b")
	reply = l.reply("fetch", "P", 9, "0 8")
	require.EqualValues(t, 0, reply[1], "b was received, and is not dropped")
}
