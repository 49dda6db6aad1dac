// Package lua has what running Lua scripts at Redis takes.
package lua

import (
	"context"
	"io/fs"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Script is a script that every connection which runs it loads when it is made.
type Script struct{ Source, hash string }

// Read reads a script from files that are embedded: that it is there, the
// compiler saw to.
func Read(files fs.ReadFileFS, path string) Script {
	b, err := files.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return Script{string(b), redis.NewScript(string(b)).Hash()}
}

// Words are those of a command that runs the script, which has to be loaded.
func (s Script) Words(keys []string, args ...any) []any {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "EVALSHA", s.hash, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	return append(words, args...)
}

// Load puts scripts into the server's cache, in one round trip.
func Load(ctx context.Context, c redis.Cmdable, scripts []Script) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range scripts {
			p.ScriptLoad(ctx, s.Source)
		}
		return nil
	})
	return err
}

// Number reads an integer from a script's reply; what is not there is 0.
func Number(reply []any, i int) int64 {
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
