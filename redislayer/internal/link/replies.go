package link

import (
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// IsReply reports whether the server answered.
func IsReply(err error) bool {
	if err == redis.Nil {
		return true
	}
	_, ok := err.(redis.Error)
	return ok
}

// StaleServer reports whether the reply means that another server should be
// asked.
func StaleServer(err error) bool {
	for _, begin := range []string{"READONLY", "MOVED", "ASK", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "UNBLOCKED"} {
		if err != nil && strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}

// notRun are the beginnings of the replies by which a server says that it did
// not run a command.
var notRun = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOSCRIPT", "NOPERM", "NOAUTH", "WRONGPASS", "BUSY", "NOREPLICAS", "MISCONF", "OOM", "UNBLOCKED"}

// CertainlyNotRun reports whether err is the server's word that it did not run
// the command, nor anything in the script.
func CertainlyNotRun(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	refusals := notRun
	switch {
	case strings.HasPrefix(text, "ERR Error running script"): // before Redis 7
		_, text, _ = strings.Cut(text, ": -")
		refusals = noWrite
	case strings.Contains(text, " script: "): // Redis 7
		refusals = noWrite
	}
	return slices.ContainsFunc(refusals, func(begin string) bool { return strings.HasPrefix(text, begin) })
}

// noWrite are the refusals that a script meets at its first write or not at
// all. Of others inside a script it is not known what it had done by then.
var noWrite = []string{"OOM", "READONLY", "MISCONF", "NOREPLICAS"}

// LacksRights reports whether the reply says that the user may not run the
// command, or one in a script.
func LacksRights(reply redis.Error) bool {
	return slices.ContainsFunc([]string{"NOPERM", "can't run this command", "ACL failure"}, func(part string) bool {
		return strings.Contains(reply.Error(), part)
	})
}
