package channelsredis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// That the list of a group's members is none is not taken for a group without
// members.
func TestMembersReplyThatIsNoList(t *testing.T) {
	for reply, ok := range map[string]bool{"*0\r\n": true, "*1\r\n$1\r\na\r\n": true, "$1\r\na\r\n": false, ":0\r\n": false, "$-1\r\n": false, "+OK\r\n": false} {
		c := &call{left: 2, asText: true}
		require.NoError(t, c.read([]byte(":0\r\n")), "how many had expired")
		c.left--
		err := c.read([]byte(reply))
		if ok {
			require.NoError(t, err, "%q", reply)
			require.Equal(t, reply, c.text)
		} else {
			require.ErrorIs(t, err, errReply, "%q", reply)
		}
	}
}
