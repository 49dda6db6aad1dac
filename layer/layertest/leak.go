package layertest

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

// labelKey is the profiler label under which the goroutines of the layers
// under test are found. A goroutine inherits the labels of the one that
// started it, so what a layer starts carries the label of its check, also
// while other checks run.
const labelKey = "layertest"

// findLeaks reports goroutines that a layer left behind. The layers are
// closed, and what Backend.New left for tb.Cleanup is done.
func (c *checker) findLeaks() {
	if c.isHung() {
		return
	}
	left := c.labelled()
	for range 50 { // a goroutine that was told to end needs a moment
		if left == "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
		left = c.labelled()
	}
	c.brokenf(11, "goroutines are left after Close:\n%s", left)
}

// stuck records why a bubble did not end. Leaked goroutines are the usual
// reason, and findLeaks reports these.
func (c *checker) stuck(why string) {
	if !c.isHung() && c.labelled() == "" {
		c.errorf("panic: %s", why)
	}
}

func (c *checker) isHung() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hung
}

// shownStacks is how many stacks a failure repeats.
const shownStacks = 5

// labelled returns the stacks of the goroutines of this check's layers.
func (c *checker) labelled() string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	var found []string
	mark := fmt.Sprintf("%q:%q", labelKey, c.label)
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, mark) {
			found = append(found, stack)
		}
	}
	if more := len(found) - shownStacks; more > 0 {
		found = append(found[:shownStacks], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(found, "\n")
}
