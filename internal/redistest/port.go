package redistest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports come from this range, and a cluster node also uses the port 10,000
// above its own; both lie below 32768, where Linux begins to hand out ports to
// outgoing connections.
const (
	firstPort     = 10000
	lastPort      = 22767
	busPortOffset = 10000
)

// usedPorts remembers what was drawn in this process, so that the port of a
// server that is down is not given to another one.
var usedPorts sync.Map

// freePort returns a port that nobody listens on. Someone may do so before the
// server does; whoever starts it tries another port then.
func freePort() (int, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if _, used := usedPorts.LoadOrStore(port, true); used {
			continue
		}
		if isFree(port) && isFree(port+busPortOffset) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port found between %d and %d", firstPort, lastPort)
}

func isFree(port int) bool {
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
