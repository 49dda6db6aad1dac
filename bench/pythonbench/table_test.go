//go:build unix

package pythonbench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/channellayer/channellayer/bench/internal/workers"
)

func TestMain(m *testing.M) {
	workers.Main(commands)
	code := m.Run()
	printTable()
	os.Exit(code)
}

// Results of every time that a row ran with a pair. Benchmarks run one after the
// other.
var (
	results  = map[row]map[pair][]float64{} // messages a second, or median latencies in microseconds
	spent    = map[row]map[pair][]float64{} // microseconds of CPU time on a message, all processes together
	measured []row                          // in order
)

func record(r row, p pair, value, cpu float64) {
	if results[r] == nil {
		results[r], spent[r] = map[pair][]float64{}, map[pair][]float64{}
		measured = append(measured, r)
	}
	results[r][p] = append(results[r][p], value)
	spent[r][p] = append(spent[r][p], cpu)
}

// printTable prints the medians, and how often each pair does what Python with
// Python does once: of latencies, what part it takes.
func printTable() {
	if len(measured) == 0 {
		return
	}
	fmt.Println()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprint(table, "layer\trow\tunit")
	for _, p := range pairs {
		fmt.Fprintf(table, "\t%v", p)
	}
	fmt.Fprintln(table, "\tCPU µs of each\ttarget\t")
	for _, r := range measured {
		unit, wanted := "msg/s", fmt.Sprintf("≥ %v", r.target)
		if r.rate > 0 {
			unit, wanted = "p50 µs", fmt.Sprintf("≤ %v", r.target)
		}
		fmt.Fprintf(table, "%s\t%v\t%s", r.layer, r, unit)
		base := median(results[r][pairs[0]])
		missed := ""
		var cpu []string
		for _, p := range pairs {
			value := median(results[r][p])
			if each := median(spent[r][p]); each > 0 { // is not taken where latency is
				cpu = append(cpu, short(each))
			}
			switch {
			case value == 0:
				fmt.Fprint(table, "\t-")
				continue
			case p == pairs[0] || base == 0:
				fmt.Fprintf(table, "\t%s", short(value))
				continue
			}
			ratio := value / base
			fmt.Fprintf(table, "\t%s (%s)", short(value), short(ratio))
			target := 1.0 // of the mixed pairs
			if p.sender == p.receiver {
				target = r.target
			}
			if r.rate > 0 && ratio > target || r.rate == 0 && ratio < target {
				missed += " missed by " + p.String()
			}
		}
		fmt.Fprintf(table, "\t%s\t%s%s\t\n", strings.Join(cpu, " / "), wanted, missed)
	}
}

// short writes a number with about three digits.
func short(value float64) string {
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}

// median returns the median, the higher one of two; 0 of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
