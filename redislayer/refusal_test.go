package redislayer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// What a server replies to a script whose command the user may not run is
// explained, whichever version it is.
func TestExplainRefusal(t *testing.T) {
	for _, text := range []string{
		"ERR The user executing the script can't run this command or subcommand script: e70f, on @user_script:9.",
		"ERR ACL failure in script: User bus has no permissions to run the 'hdel' command script: e70f, on @user_script:9.",
		"ERR Error running script (call to f_e70f): @user_script:9: @user_script: 9: -NOPERM this user has no permissions to run the 'hdel' command",
		"ERR Error running script (call to f_e70f): @user_script:9: The user executing the script can't run this command or subcommand",
		"NOPERM this user has no permissions to run the 'evalsha' command",
	} {
		var setup *SetupError
		require.ErrorAs(t, explain(resp.Error(text)), &setup, "after the reply %q", text)
		require.ErrorContains(t, setup, "OPERATIONS.md")
	}
	err := resp.Error("ERR something new")
	require.Equal(t, err, explain(err))
}
