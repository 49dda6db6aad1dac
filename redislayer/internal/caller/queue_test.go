package caller

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type job struct {
	Place
	n int
}

func upTo(n int) func(int, *job) bool { return func(before int, _ *job) bool { return before < n } }

// A queue does what a slice does, of which withdrawn work is cut out at once.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[*job]
		var model, all []*job
		taken := func(got []*job, n int) {
			require.True(t, slices.Equal(model[:n], got), "took %v of %v, want the first %d", got, model, n)
			model = slices.Clone(model[n:])
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				x := &job{n: len(all)}
				all = append(all, x)
				require.Equal(t, len(model) == 0, q.Add(x))
				model = append(model, x)
			},
			"withdraw": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nothing was ever queued")
				}
				x := rapid.SampledFrom(all).Draw(t, "job")
				i := slices.Index(model, x)
				require.Equal(t, i >= 0, q.Withdraw(x), "job %d", x.n)
				if i >= 0 {
					model = slices.Delete(slices.Clone(model), i, i+1)
				}
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(0, 5).Draw(t, "bound")
				got := q.Take(upTo(n))
				taken(slices.Clone(got), min(n, len(model)))
				if rapid.Bool().Draw(t, "reuse") {
					q.Reuse(got)
				}
			},
			"take all": func(*rapid.T) { taken(q.TakeAll(), len(model)) },
			"":         func(t *rapid.T) { require.Equal(t, len(model), q.Len()) },
		})
	})
}

func TestQueueForgetsWhatWasWithdrawn(t *testing.T) {
	var q Queue[*job]
	for range 1000 {
		q.Add(&job{})
	}
	kept := q.items[0]
	for _, x := range slices.Clone(q.items) {
		if x != kept {
			require.True(t, q.Withdraw(x))
		}
	}
	require.LessOrEqual(t, len(q.items), 2, "jobs held, of which 1 waits")
}

// Callers that leave at once: what one of them costs does not depend on how many
// there are.
func BenchmarkWithdraw(b *testing.B) {
	for b.Loop() {
		var q Queue[*job]
		jobs := make([]job, 100_000)
		for i := range jobs {
			q.Add(&jobs[i])
		}
		for i := range jobs {
			q.Withdraw(&jobs[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/100_000, "ns/withdrawal")
}
