package redislayer

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// home is where this process's inbox is: at the master of its slot or, while
// that slot is on its way to another master and the inbox has arrived there
// already, at that one. There every command on the inbox needs ASKING before
// it until the rest of the slot has followed, and gets it as long as the
// connection lasts.
type home struct {
	c   *cluster
	key string // of the inbox

	mu    sync.Mutex
	asked string // where the slot's master said that the inbox is, or ""
	from  string // that master
}

func newHome(c *cluster, inbox string) source {
	h := &home{c: c, key: inbox}
	return source{options: h.options, asks: h.asks, reload: h.reload}
}

func (h *home) options(ctx context.Context) (*redis.Options, error) {
	node, err := h.c.client.MasterForKey(ctx, h.key)
	if err != nil {
		return nil, err
	}
	o := *node.Options()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.from != o.Addr { // the slot has arrived, or its master was replaced
		h.asked = ""
	}
	if h.asked != "" {
		o.Addr = h.asked
	}
	return &o, nil
}

// asks reports whether the node at an address is to be asked with ASKING.
func (h *home) asks(addr string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return addr == h.asked
}

// reload finds out anew where the inbox is. After ASK it is known; after
// anything else, the slot's master knows.
func (h *home) reload(ctx context.Context, err error) {
	from := ""
	if node, err := h.c.client.MasterForKey(ctx, h.key); err == nil {
		from = node.Options().Addr
	}
	word, addr := redirection(err, from)
	if word != "ASK" {
		addr = ""
	}
	h.mu.Lock()
	h.asked, h.from = addr, from
	h.mu.Unlock()
	if addr == "" {
		h.c.refresh(ctx)
	}
}

// ask has every command on the connection preceded by ASKING. To those on other
// keys, or on none, it does nothing.
func (c *conn) ask() {
	c.Pipe.Ask()
	c.Conn.AddHook(askFirst{})
}

// askFirst is [conn.ask] for what goes through the client.
type askFirst struct{}

func (askFirst) DialHook(next redis.DialHook) redis.DialHook { return next }

func (askFirst) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, redis.NewStatusCmd(ctx, "ASKING")); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (askFirst) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		both := make([]redis.Cmder, 0, 2*len(cmds))
		for _, cmd := range cmds {
			both = append(both, redis.NewStatusCmd(ctx, "ASKING"), cmd)
		}
		return next(ctx, both)
	}
}
