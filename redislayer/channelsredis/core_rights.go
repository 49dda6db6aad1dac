package channelsredis

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// checkRights returns a [SetupError] that names what the user may not run: to
// find it out one by one, in the middle of the work, would be worse, and leave
// things half done.
func (w *writer) checkRights(ctx context.Context, conn *redisconn.Conn) error {
	// The wait of nobody is ended.
	if err := conn.Do(ctx, "CLIENT", "UNBLOCK", int64(math.MaxInt64)).Err(); err != nil {
		return err
	}
	refused, err := conn.Do(ctx, checkScript.Words([]string{w.c.options.Prefix + ":check"})...).StringSlice()
	if err != nil || len(refused) == 0 {
		return err
	}
	return &redisconn.SetupError{Err: fmt.Errorf("the user may not run %s on keys under the prefix", strings.Join(refused, ", "))}
}
