package channelsredis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// Every form in which a Django site may name a host has one here that means the
// same server, database, user and password; the package's documentation lists
// them side by side.
func TestInteropHosts(t *testing.T) {
	pypeer.Need(t)
	dir, err := os.MkdirTemp("", "sock") // the name of a socket must be short
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "redis.sock")
	open := redistest.Start(t, redistest.Config{Extra: []string{"unixsocket " + socket}})
	closed := redistest.Start(t, redistest.Config{
		Password: "p@ss/w:rd", Users: []string{"bus on >se%cret ~* &* +@all"}, TLS: true, Extra: []string{"tls-auth-clients no"},
	})
	encrypted, _ := closed.TLS()
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
	require.Equal(t, "127.0.0.1:"+port(open.Addr()), open.Addr())

	later := pypeer.HasSerializers()
	python := pypeer.Start(t)
	for _, form := range []struct {
		name   string
		python string // an entry of "hosts"
		url    string // here, if there is one
		client *redis.Options
		noPub  bool // PubSub of this version does not take it
	}{
		{name: "tuple", python: fmt.Sprintf(`("127.0.0.1", %s)`, port(open.Addr())), url: "redis://" + open.Addr(), noPub: !later},
		{name: "dict", python: fmt.Sprintf(`{"host": "127.0.0.1", "port": %s, "db": 3, "username": "bus", "password": "se%%cret"}`, port(closed.Addr())),
			client: &redis.Options{Addr: closed.Addr(), DB: 3, Username: "bus", Password: "se%cret"}, noPub: !later},
		{name: "dict with an address", python: fmt.Sprintf(`{"address": "redis://:p%%40ss%%2Fw:rd@%s/2"}`, closed.Addr()),
			url: fmt.Sprintf("redis://:p%%40ss%%2Fw:rd@%s/2", closed.Addr())},
		{name: "URL", python: fmt.Sprintf(`"redis://bus:se%%25cret@%s/1"`, closed.Addr()), url: fmt.Sprintf("redis://bus:se%%25cret@%s/1", closed.Addr())},
		{name: "URL with db", python: fmt.Sprintf(`"redis://%s?db=4"`, open.Addr()), url: fmt.Sprintf("redis://%s?db=4", open.Addr())},
		{name: "socket", python: fmt.Sprintf(`"unix://%s?db=2"`, socket), url: fmt.Sprintf("unix://%s?db=2", socket)},
		{name: "TLS", python: fmt.Sprintf(`"rediss://bus:se%%25cret@%s/1?ssl_cert_reqs=none"`, encrypted), url: fmt.Sprintf("rediss://bus:se%%25cret@%s/1?skip_verify=true", encrypted)},
	} {
		for _, kind := range []string{"Core", "PubSub"} {
			if kind == "PubSub" && form.noPub {
				continue
			}
			t.Run(form.name+" "+kind, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				config := pypeer.Options{HostsSource: pypeer.Source("[" + form.python + "]"), Prefix: "site" + form.name}
				o := channelsredis.Options{Prefix: config.Prefix}
				var theirs *pypeer.Layer
				var ours layer.Layer
				var err error
				if kind == "Core" {
					theirs = python.Core(config)
				} else {
					theirs = python.PubSub(config)
				}
				switch client := form.client; {
				case client != nil:
					o.Hosts = []redis.UniversalClient{redis.NewClient(client)}
					defer o.Hosts[0].Close()
					if kind == "Core" {
						ours, err = channelsredis.NewCore(o)
					} else {
						ours, err = channelsredis.NewPubSub(o)
					}
				case kind == "Core":
					ours, err = channelsredis.OpenCore(ctx, []string{form.url}, o)
				default:
					ours, err = channelsredis.OpenPubSub(ctx, []string{form.url}, o)
				}
				require.NoError(t, err)
				defer func() { require.NoError(t, ours.Close()) }()
				soon(t, "the layer to connect", func() bool { return layer.Ping(ctx, ours) == nil })

				own, other := newOwn(t, ours), theirs.NewChannel()
				theirs.Send(own, fromPython(1))
				require.EqualValues(t, 1, next(t, ours, own).Int("n"))
				soon(t, "Python's channel to be there", func() bool { return ours.Send(ctx, other, note(2)) == nil })
				require.Equal(t, fromPython(2), theirs.Receive(other, patience))
			})
		}
	}

	// What redis-py takes in a URL and go-redis does not is named, with no secret.
	for _, query := range []string{"socket_timeout=60", "ssl_cert_reqs=none", "health_check_interval=30"} {
		_, err := channelsredis.OpenCore(t.Context(), []string{"redis://bus:secret@" + net.JoinHostPort("127.0.0.1", "1") + "/0?" + query}, channelsredis.Options{})
		name, _, _ := strings.Cut(query, "=")
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "secret")
	}
}
