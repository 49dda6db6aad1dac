package link_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// What servers reply, verbatim, and whether the command or script may have
// done something.
func TestCertainlyNotRun(t *testing.T) {
	const in7 = " script: e70f9a274421436824450823862737728fed8f35, on @user_script:9."
	const in6 = "ERR Error running script (call to f_e70f9a274421436824450823862737728fed8f35): @user_script:9: @user_script: 9: "
	for text, want := range map[string]bool{
		"LOADING Redis is loading the dataset in memory":                                         true,
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": true,
		"NOSCRIPT No matching script. Please use EVAL.":                                          true,
		"READONLY You can't write against a read only replica.":                                  true,
		"READONLY You can't write against a read only replica." + in7:                            true,
		"OOM command not allowed when used memory > 'maxmemory'.":                                true,
		"OOM command not allowed when used memory > 'maxmemory'." + in7:                          true,
		"NOREPLICAS Not enough good replicas to write." + in7:                                    true,
		in6 + "-OOM command not allowed when used memory > 'maxmemory'.":                         true,
		in6 + "-READONLY You can't write against a read only replica.":                           true,
		"NOPERM this user has no permissions to run the 'evalsha' command":                       true,

		"ERR The user executing the script can't run this command or subcommand" + in7: false,
		"NOPERM No permissions to access a key" + in7:                                  false,
		"WRONGTYPE Operation against a key holding the wrong kind of value" + in7:      false,
		in6 + "WRONGTYPE Operation against a key holding the wrong kind of value":      false,
		"ERR something new": false,
	} {
		require.Equal(t, want, link.CertainlyNotRun(resp.Error(text)), "after the reply %q", text)
	}
	require.False(t, link.CertainlyNotRun(io.EOF), "without a reply")
	require.False(t, link.CertainlyNotRun(errors.New("OOM")), "an error that is no reply")
}
