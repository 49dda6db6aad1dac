package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
)

// TestNoFault loses nothing: 1,000,000 messages in the long version.
func TestNoFault(t *testing.T) {
	c := fleetConfig{rate: 1000, limit: 20_000 / senders, groupPart: 1, otherPart: 10}
	most := 2 * time.Minute
	if *soak > 0 {
		c.limit, most = 1_000_000/senders, time.Hour
	}
	c.server = redistest.Start(t, redistest.Config{})
	f := launch(t, c)
	began := time.Now()
	done := wait(most, func() bool {
		for _, p := range f.processes {
			if !p.ask(t, command{Since: 1}).Done {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	require.True(t, done, "not all is sent after %v", most)
	f.stopSending()
	f.drain()
	a := f.finish()
	r := row{fault: "none", account: a, rate: float64(c.limit*senders) / took.Seconds()}
	t.Logf("\n%s", &table{rows: []row{r}})
	require.Empty(t, a.Findings)
	require.Empty(t, f.errorLines(), "errors of sends")
	require.Empty(t, a.Drops)
	require.Zero(t, a.Gaps)
	require.Zero(t, a.Broken())
}
