package redislayer

import (
	"context"
	"embed"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// script is a Lua script that every connection loads when it is made.
type script struct{ source, hash string }

var (
	deliverScript = loadScript("deliver")
	controlScript = loadScript("control")
	groupScript   = loadScript("group")
	groupsScript  = loadScript("groups")
	leaseScript   = loadScript("lease")
	trimScript    = loadScript("trim")
	queueScript   = loadScript("queue")
	memberScript  = loadScript("member")
	checkScript   = loadScript("check")

	// On a Cluster only.
	relayScript   = loadScript("relay")
	membersScript = loadScript("members")
	entryScript   = loadScript("entry")
	lineScript    = loadScript("line")

	allScripts = []script{deliverScript, controlScript, groupScript, groupsScript, leaseScript, trimScript, queueScript, memberScript, checkScript,
		relayScript, membersScript, entryScript, lineScript}
)

func loadScript(name string) script {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err) // it is embedded
	}
	return script{string(b), redis.NewScript(string(b)).Hash()}
}

// call makes a command that runs the script.
func (s script) call(ctx context.Context, keys []string, args ...any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "EVALSHA", s.hash, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	return redis.NewCmd(ctx, append(words, args...)...)
}

// request appends a request that runs the script.
func (s script) request(b []byte, keys []string, args ...any) []byte {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "EVALSHA", s.hash, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	return resp.AppendRequest(b, append(words, args...)...)
}

// loadScripts puts all scripts into the server's cache.
func (c *conn) loadScripts(ctx context.Context) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range allScripts {
			p.ScriptLoad(ctx, s.source)
		}
		return nil
	})
	return err
}

// script runs one script, and loads it again if the server has forgotten it.
func (c *conn) script(ctx context.Context, cmd interface {
	Result() (any, error)
	Args() []any
}) ([]any, error) {
	call := func() (any, error) { return c.Do(ctx, cmd.Args()...).Result() }
	reply, err := call()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err := c.loadScripts(ctx); err != nil {
			return nil, err
		}
		reply, err = call()
	}
	values, _ := reply.([]any)
	return values, err
}

// number reads an integer from a script's reply.
func number(reply []any, i int) int64 {
	if i >= len(reply) {
		return 0
	}
	switch v := reply[i].(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}
