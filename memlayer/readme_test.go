package memlayer_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's quickstart is the body of Example, which is compiled and run.
func TestReadmeQuickstart(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	example, err := os.ReadFile("example_test.go")
	require.NoError(t, err)

	_, shown, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found, "README.md has no Go code")
	shown, _, _ = strings.Cut(shown, "```")
	_, run, found := strings.Cut(string(example), "func Example() {\n")
	require.True(t, found, "example_test.go has no Example")
	run, _, _ = strings.Cut(run, "\t// Output:")
	require.Equal(t, strings.ReplaceAll("\n"+run, "\n\t", "\n"), "\n"+shown, "README.md and Example differ")
}
