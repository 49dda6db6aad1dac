package channelsredis

import (
	"context"
	"embed"
	"strconv"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/core_*.lua
var coreScriptFiles embed.FS

// script is a Lua script that every connection that writes loads when it is
// made.
type script struct{ source, hash string }

var (
	sendScript  = loadScript("send")
	fanScript   = loadScript("fan")
	groupScript = loadScript("group")
	pruneScript = loadScript("prune")
	backScript  = loadScript("back")
	endScript   = loadScript("end")
	checkScript = loadScript("check")

	coreScripts = []script{sendScript, fanScript, groupScript, pruneScript, backScript, endScript, checkScript}
)

func loadScript(name string) script {
	b, err := coreScriptFiles.ReadFile("scripts/core_" + name + ".lua")
	if err != nil {
		panic(err) // it is embedded
	}
	return script{string(b), redis.NewScript(string(b)).Hash()}
}

// words are those of a command that runs the script.
func (s script) words(keys []string, args ...any) []any {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "EVALSHA", s.hash, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	return append(words, args...)
}

// evalArgs are the words of a command that runs the script without it being
// loaded.
func (s script) evalArgs(key string) []any { return []any{"EVAL", s.source, 1, key} }

// loadScripts puts all scripts into the server's cache.
func loadScripts(ctx context.Context, c redis.Cmdable) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range coreScripts {
			p.ScriptLoad(ctx, s.source)
		}
		return nil
	})
	return err
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

// list reads an array from a script's reply.
func list(reply []any, i int) []any {
	if i >= len(reply) {
		return nil
	}
	values, _ := reply[i].([]any)
	return values
}
