package memlayer

import "sync/atomic"

// counter is a counter that many goroutines add to: spread over cache lines by
// the name that is being counted for, so that cores that work on different
// channels do not meet.
type counter [16]struct {
	n atomic.Uint64
	_ [56]byte
}

// add counts n for a name, which is not empty. Names that a layer makes, and
// most that people make, differ most at their end.
func (c *counter) add(name string, n uint64) {
	c[name[len(name)-1]%byte(len(c))].n.Add(n)
}

func (c *counter) sum() (sum uint64) {
	for i := range c {
		sum += c[i].n.Load()
	}
	return sum
}
