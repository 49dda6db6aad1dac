package link

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURL(t *testing.T) {
	for url, addr := range map[string]string{
		"redis://localhost":                   "localhost:6379",
		"rediss://user:p%2Fw%23@a:7000/1":     "a:7000",
		"unix://user:pw@/run/redis.sock":      "/run/redis.sock",
		"REDIS://a":                           "a:6379",
		"redis://a?client_name=somebody@home": "a:6379",
	} {
		o, err := ParseURL(url)
		require.NoError(t, err, url)
		require.Equal(t, addr, o.Addr, url)
	}
	for url, want := range map[string]string{
		"":                               "it does not begin with redis://, rediss:// or unix://",
		"127.0.0.1:6379":                 "it does not begin with redis://, rediss:// or unix://",
		"localhost":                      "it does not begin with redis://, rediss:// or unix://",
		"http://a":                       "it does not begin with redis://, rediss:// or unix://",
		"redis://a/abc":                  `redis: invalid database number: "abc"`,
		"redis://a?socket_timeout=3":     "redis: unexpected option: socket_timeout",
		"redis://user:secret@a:port":     `invalid port ":port" after host`,
		"redis://user:sec#ret@a:6379":    errPassword.Error(),
		"redis://user:1/secret@a:6379":   errPassword.Error(),
		"redis://user:sec?ret@a:6379/1":  errPassword.Error(),
		"redis://user:secret%zz@a:6379/": `invalid URL escape "%zz"`,
	} {
		_, err := ParseURL(url)
		require.EqualError(t, err, want, url)
		require.NotContains(t, err.Error(), "secret", "an error repeats no password")
	}
}
