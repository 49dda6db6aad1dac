package redislayer_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// documentedRights are the ACL rules in OPERATIONS.md: everything the layer
// needs, and Flush.
func documentedRights(tb testing.TB) []string {
	tb.Helper()
	text, err := os.ReadFile("OPERATIONS.md")
	require.NoError(tb, err)
	_, rules, found := strings.Cut(string(text), "ACL SETUSER bus on >secret")
	require.True(tb, found)
	rules, _, _ = strings.Cut(rules, "```")
	return strings.Fields(strings.ReplaceAll(rules, "\\", ""))
}

// work does each thing that a layer can do, as the user.
func work(tb testing.TB, url string) {
	tb.Helper()
	a, b := open(tb, url, redislayer.Options{}), open(tb, url, redislayer.Options{})
	ctx := tb.Context()
	channel := newChannel(tb, b)
	require.NoError(tb, a.GroupAdd(ctx, "room", channel))
	require.NoError(tb, a.GroupAdd(ctx, "room", "jobs"))
	require.NoError(tb, a.GroupSend(ctx, "room", text("to all")))
	require.Equal(tb, "to all", receive(tb, b, channel).String("text"))
	require.Equal(tb, "to all", receive(tb, b, "jobs").String("text"))
	require.NoError(tb, a.Send(ctx, channel, text("to one")))
	require.Equal(tb, "to one", receive(tb, b, channel).String("text"))
	require.NoError(tb, a.GroupDiscard(ctx, "room", channel))
	require.NoError(tb, a.GroupDiscard(ctx, "room", "jobs"))
	require.NoError(tb, a.Send(ctx, "jobs", text("not received")))
	require.NoError(tb, a.Ping(ctx))
	require.NoError(tb, a.Flush(ctx))
	require.NoError(tb, a.Close())
	require.NoError(tb, b.Close())
	require.Zero(tb, a.Stats().Gaps+b.Stats().Gaps)
}

// The documented rights are enough, and each of them is needed: without it the
// layer does not open, or Flush fails, and the error says what is missing.
func TestRights(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	admin := server.Client(t)
	rights := documentedRights(t)
	allow := func(rules []string) {
		t.Helper()
		args := []any{"ACL", "SETUSER", "bus", "reset", "on", ">secret"}
		for _, rule := range rules {
			args = append(args, rule)
		}
		require.NoError(t, admin.Do(ctx, args...).Err())
	}
	url := "redis://bus:secret@" + server.Addr()
	allow(rights)
	work(t, url)
	keys, err := admin.Keys(ctx, "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
	log, err := admin.Do(ctx, "ACL", "LOG").Slice()
	require.NoError(t, err)
	for _, entry := range log {
		// The client below asks for things that it can do without.
		require.Contains(t, strings.ToLower(strings.Join(words(entry), " ")), "client|", "refused: %v", entry)
	}

	for i, right := range rights {
		less := append(append([]string{}, rights[:i]...), rights[i+1:]...)
		allow(less)
		if right == "+scan" || right == "+unlink" {
			l := open(t, url, redislayer.Options{})
			require.NoError(t, l.GroupAdd(ctx, "room", newChannel(t, l)))
			require.ErrorContains(t, l.Flush(ctx), "NOPERM", "without %s", right)
			allow(rights)
			require.NoError(t, l.Close())
			continue
		}
		err := refused(t, url, redislayer.Options{})
		var setup *redislayer.SetupError
		require.ErrorAs(t, err, &setup, "without %s: %v", right, err)
		require.ErrorContains(t, err, "OPERATIONS.md", "without %s", right)
		if command, is := strings.CutPrefix(right, "+"); is {
			command, _, _ = strings.Cut(command, "|")
			require.Contains(t, strings.ToLower(err.Error()), command, "without %s", right)
		}
	}
	require.ErrorIs(t, admin.Get(ctx, "x").Err(), redis.Nil)
}

func words(entry any) (words []string) {
	values, _ := entry.([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			words = append(words, s)
		}
	}
	return words
}

var scriptCommand = regexp.MustCompile(`redis\.call\('([A-Z]+)'|\n  \{'([A-Z]+)'|\}, \{'([A-Z]+)'`)

// What is checked is what the scripts use, and what the layer calls beside
// them.
func TestCheckedCommandsAreThoseUsed(t *testing.T) {
	used := map[string]bool{"XRANGE": true, "XREAD": true, "XSETID": true}
	checked := map[string]bool{}
	files, err := filepath.Glob("scripts/*.lua")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		into := used
		if file == filepath.Join("scripts", "check.lua") {
			into = checked
		}
		for _, match := range scriptCommand.FindAllStringSubmatch(string(text), -1) {
			into[match[1]+match[2]+match[3]] = true
		}
	}
	require.Equal(t, used, checked)
}
