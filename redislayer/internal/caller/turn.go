package caller

import "sync"

// Turn says who uses a connection: the goroutine that it belongs to, its owner,
// or a caller who found nobody else there and makes the round trip itself. That
// saves waking a goroutine and being woken by it, a good part of what a lone
// sender waits. C is the connection, W the work that a caller may leave to the
// owner: requests that were sent, and whose replies were not read. The methods
// are called under a lock of the owner's. The zero Turn has no connection.
type Turn[C Conn, W any] struct {
	conn   C
	has    holder
	wanted bool // the owner waits
	left   []W
	broken error
}

// Conn is a connection in use.
type Conn interface {
	comparable
	Interrupt() // ends a read or write that is under way
}

type holder byte

const (
	nobody holder = iota
	owner
	someCaller
)

// Free reports whether nobody has the turn. Whoever queues work then wakes the
// owner; otherwise who has the turn looks for it.
func (t *Turn[C, W]) Free() bool { return t.has == nobody }

// Conn is the connection, or the zero C while there is none to be used.
func (t *Turn[C, W]) Conn() C { return t.conn }

// Claim gives a caller the turn, and the connection, unless somebody has it or is
// to have it first: then it returns the zero C.
func (t *Turn[C, W]) Claim() (conn C) {
	if t.conn == conn || t.has != nobody || t.wanted || t.broken != nil || len(t.left) > 0 {
		return conn
	}
	t.has = someCaller
	return t.conn
}

// Release ends a caller's turn. It leaves work to the owner, and says how the
// connection broke. It reports whether the owner is to be woken for that.
func (t *Turn[C, W]) Release(left []W, broken error) (wake bool) {
	t.has, t.left, t.broken = nobody, left, broken
	return t.wanted || broken != nil || len(left) > 0
}

// Take gives the owner the turn, with what callers left, unless a caller has it,
// who will wake the owner.
func (t *Turn[C, W]) Take() (left []W, broken error, ok bool) {
	if t.has == someCaller {
		t.wanted = true
		return nil, nil, false
	}
	t.has, t.wanted = owner, false
	left, broken = t.left, t.broken
	t.left, t.broken = nil, nil
	return left, broken, true
}

// Yield ends the owner's turn.
func (t *Turn[C, W]) Yield() { t.has = nobody }

// Begin lets a connection be used, first by the owner.
func (t *Turn[C, W]) Begin(conn C) { t.conn, t.has = conn, owner }

// End takes the connection back, and returns what callers left. A caller that
// uses it is interrupted, and waited for. The lock is free meanwhile; wake is
// where the owner is woken.
func (t *Turn[C, W]) End(lock sync.Locker, wake <-chan struct{}) (left []W) {
	var none C
	conn := t.conn
	t.conn = none
	for t.has == someCaller {
		t.wanted = true
		lock.Unlock()
		conn.Interrupt()
		<-wake
		lock.Lock()
	}
	left, _, _ = t.Take()
	return left
}
