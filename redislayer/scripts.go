package redislayer

import (
	"context"
	"embed"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/lua"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

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

	allScripts = []lua.Script{deliverScript, controlScript, groupScript, groupsScript, leaseScript, trimScript, queueScript, memberScript, checkScript,
		relayScript, membersScript, entryScript, lineScript}
)

func loadScript(name string) lua.Script { return lua.Read(scriptFiles, "scripts/"+name+".lua") }

// loadScripts puts all scripts into the server's cache.
func (c *conn) loadScripts(ctx context.Context) error { return lua.Load(ctx, c, allScripts) }

// script runs one script, and loads it again if the server has forgotten it.
func (c *conn) script(ctx context.Context, s lua.Script, keys []string, args ...any) ([]any, error) {
	call := func() (any, error) { return c.Do(ctx, s.Words(keys, args...)...).Result() }
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
