package redislayer

import (
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// settle ends the tasks of a call, or has them done elsewhere: a server that
// answers MOVED, ASK or TRYAGAIN certainly did not run it.
func (ln *lane) settle(call *laneCall) {
	err := call.cmd.Err()
	if err == nil || err == redis.Nil {
		call.apply(call, call.cmd.Val())
		return
	}
	word, addr := redirection(err, ln.addr)
	for _, t := range call.tasks {
		t.ask = ""
		switch word {
		case "MOVED":
			ln.c.noteMoved(t.where, addr)
			ln.c.again(t, err)
		case "ASK":
			t.ask = addr
			ln.c.again(t, err)
		case "TRYAGAIN":
			ln.c.again(t, err)
		default:
			ln.failTask(t, err)
		}
	}
}

// redirection reads a reply that sends a command elsewhere.
func redirection(err error, from string) (word, addr string) {
	if !link.IsReply(err) {
		return "", ""
	}
	word, rest, _ := strings.Cut(err.Error(), " ")
	switch word {
	case "TRYAGAIN":
		return word, ""
	case "MOVED", "ASK":
		_, addr, _ = strings.Cut(rest, " ")
		host, port, splitErr := net.SplitHostPort(addr)
		if splitErr == nil && host == "" { // where the answer came from
			host, _, _ = net.SplitHostPort(from)
			addr = net.JoinHostPort(host, port)
		}
		return word, addr
	}
	return "", ""
}

func (ln *lane) failTask(t *task, err error) {
	maybe := !link.CertainlyNotRun(err)
	switch t.kind {
	case taskMembers: // reading it did nothing
		maybe = false
	case taskPush, taskFetch, taskGone:
		if maybe {
			ln.c.lines.doubt(t.where)
		}
	}
	t.finish(unavailable(err), maybe, nil)
}

// Tasks are redirected at once a few times, and then after a while, for as long
// as the timeout.
const (
	quickTries = 4
	tryAgain   = 5 * time.Millisecond
)

// again has a task done that certainly was not run.
func (c *cluster) again(t *task, err error) {
	t.tries++
	if t.tries > int(c.l.options.Timeout/tryAgain) || !t.state.CompareAndSwap(taskTaken, taskQueued) {
		t.finish(unavailable(err), false, nil)
		return
	}
	if t.tries <= quickTries && !redis.HasErrorPrefix(err, "TRYAGAIN") {
		if err := c.enqueue(t); err != nil {
			t.finish(err, false, nil)
		}
		return
	}
	c.running.Go(func() {
		wait := time.NewTimer(tryAgain)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-c.ctx.Done():
		}
		if err := c.enqueue(t); err != nil {
			t.finish(err, false, nil)
		}
	})
}
