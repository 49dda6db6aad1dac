package channelsredis_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/internal/pypeer"
)

// The compatibility matrix is made of the tests that ran with real Python and
// passed: each calls record. COMPATIBILITY.md is written by
//
//	go test -run Interop -matrix=write ./redislayer/channelsredis
//
// and otherwise compared: what passed must be in it, and after a run of all
// tests, what is in it must have passed. Each version of channels_redis has its own
// part, which runs with that version write and compare; see package pypeer for how
// to run with another than Debian's.

const matrixFile = "COMPATIBILITY.md"

var matrixMode = flag.String("matrix", "check", "write: write "+matrixFile+" of the interoperation tests that run; check: compare")

// Directions.
const (
	goToPython = "Go to Python"
	pythonToGo = "Python to Go"
)

// Options, the columns.
const (
	plain       = "default"
	encrypted   = "encrypted"
	twoHosts    = "two hosts"
	otherPrefix = "prefix"

	// From channels_redis 4.2.1 on.
	asJSON        = "JSON"
	encryptedJSON = "JSON, encrypted"
	noRandom      = "no random prefix"
)

// cell is one place of the matrix. The layer's name is followed by the version
// of channels_redis.
type cell struct{ layer, operation, direction, option string }

var matrix = struct {
	sync.Mutex
	passed map[cell]bool
}{passed: map[cell]bool{}}

// record says that the test shows, if it passes, that the operation works in
// that direction with that option. layer is "Core" or "PubSub". The test must
// have a real Python process in it.
func record(t *testing.T, layer, operation, direction, option string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		matrix.Lock()
		matrix.passed[cell{layer + withVersion(), operation, direction, option}] = true
		matrix.Unlock()
	})
}

func withVersion() string { return " of channels_redis " + pypeer.Version() }

// impossible says why nothing can be shown with the option: the reason is
// Python's.
var impossible = map[[2]string]string{
	{"Core of channels_redis 4.0.0", asJSON}:      "this version has no serializer_format",
	{"PubSub of channels_redis 4.0.0", asJSON}:    "this version has no serializer_format",
	{"PubSub of channels_redis 4.0.0", encrypted}: "the PubSub of this version takes symmetric_encryption_keys and sends in the clear",
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 {
		if err := settleMatrix(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func settleMatrix() error {
	matrix.Lock()
	defer matrix.Unlock()
	if len(matrix.passed) == 0 {
		return nil
	}
	written, err := os.ReadFile(matrixFile)
	if err != nil {
		return err
	}
	known := readMatrix(string(written))
	maps.DeleteFunc(known, func(c cell, _ bool) bool {
		another := !strings.HasSuffix(c.layer, withVersion())
		if another && *matrixMode == "write" {
			matrix.passed[c] = true // with that version, before
		}
		return another
	})
	if *matrixMode == "write" {
		return os.WriteFile(matrixFile, []byte(renderMatrix(matrix.passed)), 0o644)
	}
	for c := range matrix.passed {
		if !known[c] {
			return fmt.Errorf("%s lacks %q, which passed: run the tests with -matrix=write", matrixFile, c)
		}
	}
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && !testing.Short()
	for c := range known {
		if whole && !matrix.passed[c] {
			return fmt.Errorf("%s has %q, which no test showed: run the tests with -matrix=write", matrixFile, c)
		}
	}
	return nil
}

// renderMatrix writes the cells as tables, a row for each operation and
// direction.
func renderMatrix(passed map[cell]bool) string {
	var b strings.Builder
	b.WriteString("# What works with Python\n\n" +
		"Written by the interoperation tests (`go test -run Interop -matrix=write ./redislayer/channelsredis`) from those that passed, " +
		"with a real Python process at the other end. A test fails when this file is out of date. " +
		"Debian's channels_redis is 4.0.0; the parts of other versions are from runs with a checkout of those " +
		"(`CHANNELLAYER_CHANNELS_REDIS`; see package internal/pypeer).\n")
	cells := slices.SortedFunc(maps.Keys(passed), func(a, c cell) int {
		return cmp.Or(strings.Compare(a.layer, c.layer), strings.Compare(a.operation, c.operation), strings.Compare(a.direction, c.direction), strings.Compare(a.option, c.option))
	})
	for _, layer := range distinct(cells, func(c cell) string { return c.layer }) {
		in := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return c.layer != layer })
		options := distinct(in, func(c cell) string { return c.option })
		if i := slices.Index(options, plain); i > 0 { // first
			options = slices.Insert(slices.Delete(options, i, i+1), 0, plain)
		}
		fmt.Fprintf(&b, "\n## %s\n\n| operation | direction | %s |\n|---|---|%s\n", layer, strings.Join(options, " | "), strings.Repeat("---|", len(options)))
		for _, row := range distinct(in, func(c cell) string { return c.operation + " | " + c.direction }) {
			fmt.Fprintf(&b, "| %s |", row)
			for _, option := range options {
				operation, direction, _ := strings.Cut(row, " | ")
				mark := " "
				if passed[cell{layer, operation, direction, option}] {
					mark = " yes "
				}
				b.WriteString(mark + "|")
			}
			b.WriteString("\n")
		}
		for _, what := range slices.SortedFunc(maps.Keys(impossible), func(a, c [2]string) int { return strings.Compare(a[1], c[1]) }) {
			if what[0] == layer {
				fmt.Fprintf(&b, "\nNot shown with %s: %s.\n", what[1], impossible[what])
			}
		}
	}
	return b.String()
}

// readMatrix reads what renderMatrix wrote.
func readMatrix(text string) map[cell]bool {
	cells := map[cell]bool{}
	layer, options := "", []string(nil)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			layer = name
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		var columns []string
		for column := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			columns = append(columns, strings.TrimSpace(column))
		}
		if columns[0] == "operation" {
			options = columns[2:]
			continue
		}
		for i, mark := range columns[2:] {
			if mark == "yes" {
				cells[cell{layer, columns[0], columns[1], options[i]}] = true
			}
		}
	}
	return cells
}

func distinct(cells []cell, of func(cell) string) []string {
	var out []string
	for _, c := range cells {
		if v := of(c); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// What is written is read back as it was.
func TestMatrixIsReadBack(t *testing.T) {
	want := map[cell]bool{
		{"Core", "send", goToPython, plain}: true, {"Core", "send", goToPython, encrypted}: true,
		{"Core", "group send", pythonToGo, twoHosts}: true, {"PubSub", "send", pythonToGo, plain}: true,
	}
	if got := readMatrix(renderMatrix(want)); !maps.Equal(got, want) {
		t.Fatalf("read back %v, wrote %v", got, want)
	}
}
