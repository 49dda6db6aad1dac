package channelsredis

import (
	"context"
	"embed"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/lua"
)

//go:embed scripts/core_*.lua
var coreScriptFiles embed.FS

var (
	sendScript  = loadScript("send")
	fanScript   = loadScript("fan")
	groupScript = loadScript("group")
	pruneScript = loadScript("prune")
	backScript  = loadScript("back")
	endScript   = loadScript("end")
	checkScript = loadScript("check")

	coreScripts = []lua.Script{sendScript, fanScript, groupScript, pruneScript, backScript, endScript, checkScript}
)

func loadScript(name string) lua.Script {
	return lua.Read(coreScriptFiles, "scripts/core_"+name+".lua")
}

// loadScripts puts all scripts into the server's cache.
func loadScripts(ctx context.Context, c redis.Cmdable) error { return lua.Load(ctx, c, coreScripts) }

// list reads an array from a script's reply.
func list(reply []any, i int) []any {
	if i >= len(reply) {
		return nil
	}
	values, _ := reply[i].([]any)
	return values
}
