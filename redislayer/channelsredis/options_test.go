package channelsredis_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestBadOptions(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	hosts := []redis.UniversalClient{client}
	for want, options := range map[string]channelsredis.Options{
		`"Hosts": layer: invalid option: there is none`:                                                              {},
		`"Hosts[1]": layer: invalid option: *redis.Ring is not supported; use a *redis.Client`:                       {Hosts: []redis.UniversalClient{client, ring}},
		`"Expiry": layer: invalid option: -1ns is negative`:                                                          {Hosts: hosts, Expiry: -1},
		`"GroupExpiry": layer: invalid option: -1ns is negative`:                                                     {Hosts: hosts, GroupExpiry: -1},
		`"Capacity": layer: invalid option: -1 is negative`:                                                          {Hosts: hosts, Capacity: -1},
		`"ChannelCapacity[0].Capacity": layer: invalid option: 0 is below 1`:                                         {Hosts: hosts, ChannelCapacity: []layer.CapacityRule{{Pattern: "a*"}}},
		`"MaxMessageSize": layer: invalid option: -1 is negative`:                                                    {Hosts: hosts, MaxMessageSize: -1},
		`"Timeout": layer: invalid option: -1ns is negative`:                                                         {Hosts: hosts, Timeout: -time.Nanosecond},
		`"Expiry": layer: invalid option: 60ns is below 1ms; if seconds are meant, write 60 * time.Second`:           {Hosts: hosts, Expiry: 60},
		`"GroupExpiry": layer: invalid option: 86.4µs is below 1ms; if seconds are meant, write 86400 * time.Second`: {Hosts: hosts, GroupExpiry: 86400},
		`"Timeout": layer: invalid option: 2ns is below 1ms; if seconds are meant, write 2 * time.Second`:            {Hosts: hosts, Timeout: 2},
		`"RandomPrefixLength": layer: invalid option: -2 is negative`:                                                {Hosts: hosts, RandomPrefixLength: -2},
		`"RandomPrefixLength": layer: invalid option: 2000 is above 1024`:                                            {Hosts: hosts, RandomPrefixLength: 2000},
		`"SerializerFormat": layer: invalid option: a CustomSerializer needs Marshal and Unmarshal`: {
			Hosts: hosts, SerializerFormat: channelsredis.CustomSerializer{Marshal: func(map[string]any) ([]byte, error) { return nil, nil }}},
		`"SymmetricEncryptionKeys[1]": layer: invalid option: it is empty`: {Hosts: hosts, SymmetricEncryptionKeys: []string{"a", ""}},
	} {
		_, err := channelsredis.NewCore(options)
		require.ErrorIs(t, err, layer.ErrInvalidOption)
		require.EqualError(t, err, "channelsredis options "+want, "NewCore")
		_, err = channelsredis.NewPubSub(options)
		require.ErrorIs(t, err, layer.ErrInvalidOption)
		require.EqualError(t, err, "channelsredis options "+want, "NewPubSub")
	}
	_, err := channelsredis.OpenCore(t.Context(), []string{"redis://127.0.0.1:1"}, channelsredis.Options{Hosts: hosts})
	require.EqualError(t, err, `channelsredis options "Hosts": layer: invalid option: they are set, and given as URLs too`)
	_, err = channelsredis.OpenCore(t.Context(), []string{"redis://user:secret@host:port"}, channelsredis.Options{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}
