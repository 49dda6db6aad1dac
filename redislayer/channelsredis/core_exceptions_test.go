package channelsredis_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer/layertest"
)

// TestExceptionsAreDocumented compares what the conformance tests declare with
// EXCEPTIONS.md, both ways.
func TestExceptionsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("EXCEPTIONS.md")
	require.NoError(t, err)
	var rows []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, list := range [][]layertest.Exception{coreExceptions, twoHostExceptions(), pubsubExceptions, pubsubTwoHostExceptions} {
		for _, e := range list {
			want = append(want, "| `"+e.Check+"` | "+e.Reason+" |")
		}
	}
	require.Equal(t, want, rows, "EXCEPTIONS.md should have these rows:\n%s", strings.Join(want, "\n"))
}
