package redislayer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

func TestGoldenKeysOnCluster(t *testing.T) {
	k := keys{prefix: "bus", cluster: true}
	require.Equal(t, []string{
		"bus:inbox:{P}", "bus:lease:{P}", "bus:check:{P}", "bus:group:{room}",
		"bus:queue:{jobs}", "bus:waiting:{jobs}", "bus:aside:{jobs}",
	}, []string{
		k.inbox("P"), k.lease("P"), k.check("P"), k.group("room"),
		k.queue("jobs"), k.waiting("jobs"), k.aside("jobs"),
	})
}

// A server's word that a command belongs elsewhere is understood; nothing else
// is taken for it.
func TestRedirection(t *testing.T) {
	for _, test := range []struct{ reply, word, addr string }{
		{"MOVED 3999 10.0.0.1:6381", "MOVED", "10.0.0.1:6381"},
		{"ASK 3999 10.0.0.1:6381", "ASK", "10.0.0.1:6381"},
		{"MOVED 3999 :6381", "MOVED", "10.0.0.9:6381"},
		{"ASK 3999 [::1]:6381", "ASK", "[::1]:6381"},
		{"TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", ""},
		{"CLUSTERDOWN The cluster is down", "", ""},
		{"ERR MOVED", "", ""},
	} {
		word, addr := redirection(resp.Error(test.reply), "10.0.0.9:6379")
		require.Equal(t, [2]string{test.word, test.addr}, [2]string{word, addr}, test.reply)
	}
}
