package channelsredis

import (
	"errors"
	"hash/crc32"
	neturl "net/url"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// SetupError is an error of a server's set-up, which does not go away by trying
// again: the server is too old, the user lacks rights, a key holds something
// else. It says what to do. Errors of calls that a server refuses wrap it.
type SetupError = redisconn.SetupError

// hostOf is which of n hosts a name belongs to, as channels_redis computes it
// (with a float64, which matters where 4096 is no multiple of n).
func hostOf(name string, n int) int {
	if n == 1 {
		return 0
	}
	bits := crc32.ChecksumIEEE([]byte(name)) & 0xFFF
	return int(float64(bits) / (4096 / float64(n)))
}

// openHosts makes a client for each URL, for a layer that owns them. On an error
// it leaves none.
func openHosts(urls []string, options Options) ([]redis.UniversalClient, error) {
	if options.Hosts != nil {
		return nil, badOption("Hosts", "they are set, and given as URLs too")
	}
	var clients []redis.UniversalClient
	for _, url := range urls {
		o, err := redis.ParseURL(url)
		if err != nil {
			var inURL *neturl.Error // repeats the URL, and with it the password
			if errors.As(err, &inURL) {
				err = inURL.Err
			}
			closeHosts(clients)
			return nil, &layer.Error{Op: "channelsredis url", Err: err}
		}
		clients = append(clients, redis.NewClient(o))
	}
	return clients, nil
}

func closeHosts(clients []redis.UniversalClient) error {
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
