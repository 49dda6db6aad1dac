// Package channelsredis has channel layers that share a bus with Django: with
// Python's channels_redis, on the same Redis, in its own format. Go services
// and Django sites send to each other's channels and groups through it.
//
//	bus, err := channelsredis.OpenCore(ctx, []string{"redis://127.0.0.1:6379"}, channelsredis.Options{})
//	...
//	err = bus.GroupSend(ctx, "chat_lobby", layer.NewMessage(map[string]any{
//		"type": "chat.message", "message": "hello from Go",
//	}))
//
// [Core] speaks what channels_redis.core.RedisChannelLayer speaks, [PubSub]
// what channels_redis.pubsub.RedisPubSubChannelLayer speaks. Take the one that
// the Django site is configured with; the two do not hear each other. Where no
// Python is on the bus, package redislayer keeps more of the contract, and is
// faster.
//
// The groups and channels are Django's: a consumer that called
// group_add("chat_lobby", self.channel_name) gets the message above in its method
// chat_message; its channel_name is a channel that Go can send to; and what
// Django sends to a normal channel such as "thumbnails", a worker in Go receives
// (consumer.Worker; see the examples).
//
// # Settings
//
// Options has the settings of CHANNEL_LAYERS under their names. They must say
// the same on both sides. For channels_redis.core.RedisChannelLayer:
//
//	# Django                                              // Go
//	"CONFIG": {                                           channelsredis.OpenCore(ctx, urls, channelsredis.Options{
//	    "hosts": ["redis://a:6379", "redis://b:6379"],        // urls, or Hosts; in the same order
//	    "prefix": "asgi",                                     Prefix: "asgi",
//	    "expiry": 60,                                         Expiry: time.Minute,
//	    "group_expiry": 86400,                                GroupExpiry: 24 * time.Hour,
//	    "capacity": 100,                                      Capacity: 100,
//	    "channel_capacity": {"http.*": 200},                  ChannelCapacity: []layer.CapacityRule{{Pattern: "http.*", Capacity: 200}},
//	    "symmetric_encryption_keys": [SECRET_KEY],            SymmetricEncryptionKeys: []string{secretKey},
//	    # these two from 4.2.1 on; 4.0.0 raises TypeError
//	    "serializer_format": "json",                          SerializerFormat: channelsredis.JSON{},
//	    "random_prefix_length": 12,                           RandomPrefixLength: 12,
//	}                                                     })
//
// For channels_redis.pubsub.RedisPubSubChannelLayer, which has no limits (it
// ignores expiry, group_expiry and capacity, which hold within the Go process):
//
//	# Django                                              // Go
//	"CONFIG": {                                           channelsredis.OpenPubSub(ctx, urls, channelsredis.Options{
//	    "hosts": ["redis://a:6379", "redis://b:6379"],        // urls, or Hosts; in the same order
//	    "prefix": "asgi",                                     Prefix: "asgi",
//	    # taken, but never sent, from 4.0 on; core raises TypeError
//	    "on_disconnect": "redis.disconnect",                  OnDisconnect: "redis.disconnect",
//	    "on_reconnect": "redis.reconnect",                    OnReconnect: "redis.reconnect",
//	    # from 4.2.1 on; 4.0.0 ignores them, and so sends in the clear, in msgpack
//	    "symmetric_encryption_keys": [SECRET_KEY],            SymmetricEncryptionKeys: []string{secretKey},
//	    "serializer_format": "json",                          SerializerFormat: channelsredis.JSON{},
//	}                                                     })
//
// Each entry of "hosts" has its counterpart, a URL for [OpenCore] and
// [OpenPubSub], or a client of github.com/redis/go-redis/v9 for [NewCore] and
// [NewPubSub]:
//
//	# Django                                              // Go
//	(no hosts)                                            "redis://localhost:6379"
//	"redis://user:secret@a:6379/1"                        the same
//	"redis://a:6379?db=1"                                 the same
//	"unix:///run/redis.sock?db=1"                         the same
//	"rediss://a:6379?ssl_cert_reqs=none"                  "rediss://a:6379?skip_verify=true"
//	{"address": "redis://a:6379/1"}                       "redis://a:6379/1"
//	("a", 6379)                                           "redis://a:6379"
//	{"host": "a", "port": 6379, "db": 1,                  redis.NewClient(&redis.Options{Addr: "a:6379", DB: 1,
//	 "username": "user", "password": "secret"}                Username: "user", Password: "secret"})
//	{"sentinels": [("s1", 26379), ("s2", 26379)],         redis.NewFailoverClient(&redis.FailoverOptions{
//	 "master_name": "bus"}                                    MasterName: "bus", SentinelAddrs: []string{"s1:26379", "s2:26379"}})
//
// What else redis-py takes in a URL, such as socket_timeout or
// health_check_interval, is an error here, which names it: leave it out.
// Patterns of channel_capacity are the same globs; one that is a regular
// expression in Django is written as globs here. Durations have a unit: 60 is
// time.Minute, and no plain 60, which would be nanoseconds.
//
// # Messages
//
// Django dispatches by the message's "type": "chat.message" calls the handler
// chat_message. It closes the connection of every consumer that gets a message
// whose type is missing, no string, or has no handler; a group message like
// that closes them all. So a message whose "type" can have no handler (it is
// missing, no string, empty, or begins with '_' or '.') is refused here, unless
// Options.AllowUntyped says otherwise. Nothing is written that Python could not
// read: that would end its readers.
//
// Channel and group names as long as 100 bytes are valid here; Python takes at
// most 99.
//
// # Core
//
// A process has a queue at Redis, a sorted set, for each prefix that NewChannel
// was given, and one reader that empties them all, up to 100 messages at a
// time, into mailboxes in memory. All messages that wait to be sent to one
// queue leave in one script call. A message to a group is put into the queue of
// each process once, with the names of its channels: in one round trip where
// the group has up to 100 members that are the same as last time, otherwise in
// two. What a process sends to its own channels does not leave it, whether by
// Send or by GroupSend; who is in a group, GroupSend always asks Redis.
//
// A message to a normal channel is taken from Redis only for a receiver that
// waits. If that one went away meanwhile, the next here gets the message, or it
// goes back to the head of the queue. One connection to each host waits for all
// normal channels that are received on, so that hundreds of them are fine, and
// thousands are not.
//
// What it does better than channels_redis, as far as the wire lets it:
//
//   - Sending is one atomic script: senders together never put more into a
//     queue than its capacity.
//   - What Go sends stands in a queue in the order in which it came there. Its
//     scores are the clock of Redis, and each is above the last: none of it
//     overtakes another because two clocks differ or two scores are equal.
//   - A message that is older than Expiry is never received, but dropped and
//     counted.
//   - No two of its readers get the same message, and none gets one twice.
//   - With several hosts, a reader finds its messages on all of them, and a
//     sender uses the host on which a Python reader looks. (Python's direct
//     sends to Python go to the wrong host about half of the time.)
//   - Nothing is sent twice: an operation whose outcome is unknown ends with
//     [layer.ErrMaybeSent], and the broken connection is ended at the server, so
//     that what it had not run yet is never run.
//   - A reader that is connected but deaf is found within two seconds. A
//     connection that breaks while it reads may take up to 100 messages with
//     it: that is reported ([layer.Observer].Gap). The gap begins where the
//     oldest of them may have been sent.
//   - When Redis was restarted empty, or another server has taken its place,
//     memberships that began through this layer are written again, as old as they
//     were, and a gap is reported. It holds what waited for this process and on
//     the normal channels that it received from within Expiry. Every channel that
//     NewChannel made gets a message of the type Options.OnReconnect then.
//     (channels_redis has such a setting for PubSub only; core raises TypeError.)
//
// A Core has three connections to each host: one that writes, one that reads
// the queues of the process, one that reads normal channels.
//
// # Core: what to know
//
// Capacity counts what waits at Redis for all channels of one process together,
// as channels_redis has it; above it a send is [layer.ErrInboxFull]. A reader in
// Go is quick to empty its queue; one in Python may not be. A process that gets
// bursts wants a larger Capacity, in every process. In memory, each channel has
// room for Capacity messages; the newest are dropped then, and counted, where
// Python drops the oldest.
//
// With several hosts a normal channel is a queue on each, filled in turn: it
// holds Capacity on each, and is in order on each. A Python reader waits at one
// host until something comes there. Order between Send and GroupSend holds for
// what Go sends; Python's go to one channel by way of two hosts.
//
// After a restart of Redis, or a failover, a process writes the memberships of
// its own channels again, as it began them: also one that somebody else, such as
// Python, has ended meanwhile. Memberships of other channels that it began it writes
// only where Redis has lost the group, or all that the process's own channels had
// there; Redis does not tell that such a channel has left elsewhere meanwhile, so
// after a loss it may be a member again, until its membership would have expired.
// Where another process has put the group back first, and this one has no channels
// of its own in it, they stay lost. Up to 100,000 memberships of other channels are
// remembered at a time, until they would have expired; those beyond are not written
// again.
//
// A server that comes back with what it had some time ago, from a snapshot, or as a
// replica that had fallen behind, has lost what was sent since, and has again what
// was taken since: that may be received twice. Nothing on the wire tells it from what
// is new.
//
// Keys that were deleted while Redis ran, by FLUSHALL, by flush on Python's side or
// by eviction (see maxmemory-policy), are not written again: nothing tells one from
// the other. A Redis that holds a bus should not evict.
//
// A prefix that NewChannel was given costs a queue to read on each host, until it
// has had no channel for Expiry and some seconds: prefixes should be few.
//
// The user at Redis needs, for the keys under the prefix, all commands on them and
// scripts, and INFO, TIME, SCAN (to flush), CLIENT ID, CLIENT KILL and CLIENT UNBLOCK.
// What is missing is told when the layer is opened, but for SCAN.
//
// Python readers move what they read to a second key, named "$inflight", and
// remove it there when they have it. What a reader that crashed has left there
// is put back by the next Python reader of that channel, perhaps though it had
// been delivered. Readers in Go never touch that key: they would not be able to
// tell, and deliver at most once. They receive what a Python reader has put
// back. Several Python readers of one normal channel put back each other's
// messages and so deliver some twice; readers in Go add nothing to that, and
// are not safe from it.
//
// The age of a message from Python, and its place in a queue, are those of the
// clock of the host that sent it. Where that is ahead, the message waits behind
// what Go sends later (up to a second ahead, Go's stand behind it); where it is
// behind, the message comes before what was there. A Python host whose clock is
// behind by Expiry has all its messages dropped, and one that is ahead by as much
// drops those of others when it sends. A gap begins early enough for clocks that
// are ahead by up to a second. Memberships, too, are as old as the clock says of
// the Python host that began them; those that began in Go have the clock of Redis.
// A sender in Go removes those that have expired by the clock of Redis, one in
// Python by its own: a Python host whose clock is ahead by GroupExpiry ends
// everybody's. If the clock of Redis is set back, memberships last longer by as
// much; if it is set forward, shorter.
//
// A key under the prefix that holds something else, perhaps of another program,
// costs the channel or the group that it would belong to, and no other: calls that
// need it fail with a [SetupError] that names it, so does Ping while somebody
// receives there, and the key is looked at again every second. A message to a group
// gets to all its members but those with such a key. When Redis is out of memory
// (with maxmemory-policy noeviction), what would need some is refused
// ([layer.ErrNotSent]); receiving, and leaving groups, go on.
//
// With SymmetricEncryptionKeys, all hosts' clocks must agree within a minute: a
// token from further in the future, or older than Expiry and ten seconds, is not
// opened. It is dropped here ([layer.DropUndecodable]), and raises in Python's
// receive.
//
// A Redis that is shared with Python needs 6.2 or newer. From 7.0 on a reader
// takes messages in one command (BZMPOP), before that in two. channels_redis
// does not work on a Redis Cluster, and neither does this package.
//
// # PubSub
//
// A process subscribes once to the names of all its channels with a prefix, and
// once to each group in which it has members; Redis stores nothing. So a group
// send is one PUBLISH however many members there are, and decoded once in each
// process. A process has two connections to each host: one publishes, and what
// waits to be published leaves together; one is subscribed.
//
// What it does better than channels_redis, as far as the wire lets it:
//
//   - Subscriptions are confirmed when NewChannel and GroupAdd return. (Python
//     does not wait: a message right after is sometimes lost.)
//   - A connection that is open but brings nothing is found within some seconds:
//     the process publishes to itself every second, and a PING down the
//     subscribed connection must be answered after that has come.
//   - After a connection was lost, all is subscribed again at once. Then the gap
//     is reported ([layer.Observer].Gap), and every channel that NewChannel made
//     gets a message of the type Options.OnReconnect, for which there is room in
//     a full mailbox. (Who receives on a normal channel gets none.)
//     (channels_redis documents on_disconnect and on_reconnect, and from 4.0 on
//     sends neither.)
//   - A send to a channel of one process that nobody has subscribed to, Python's
//     included, is [layer.ErrChannelGone], where Python says nothing.
//   - A message for a normal channel on which nobody receives waits with its
//     sender, up to Capacity and Expiry, until somebody does: Redis is asked
//     every 50 ms.
//   - A subscription that Redis refuses because a script runs too long is asked for
//     again every second. If it was lost with a connection, that is a gap.
//   - Mailboxes are bounded, and what finds no room is counted.
//   - Nothing is published twice, and what a lost connection left unread at the
//     server does not overtake what is sent later: that connection is ended at
//     the server first. What a process sends to its own channels does not go
//     through Redis; while something that it published may still come, such a
//     send first makes a round trip, and is [layer.ErrNotSent] if Redis does not
//     answer.
//
// # PubSub: what to know
//
// The PubSub of channels_redis 4.0.0 takes symmetric_encryption_keys and sends
// in the clear; it encrypts from 4.2.1 on. A Go layer that has the keys drops
// what is not encrypted ([layer.DropUndecodable]) and says so in the log, and
// what it sends such a Python cannot read.
//
// A normal channel's message goes to every process that receives on it, to one
// receiver in each. For work that one of several workers is to do, take Core.
//
// What looks like one of Python's channels, a name that ends in a dot and 32
// hexadecimal digits, is taken for one. So a normal channel of your own must not
// be named like "jobs." and an MD5 sum: it cannot be added to groups
// ([layer.ErrForeignChannel]), and a message for it does not wait until somebody
// receives ([layer.ErrChannelGone]).
//
// The names of channels have no prefix on the wire, whatever Options.Prefix says,
// and Redis publishes across its databases: two buses on one server share
// normal channels of one name. The names of groups have the prefix.
//
// Each process with Go costs a pattern on each host, for each prefix that it
// gave to NewChannel, which Redis compares with every message. Redis cuts off a
// process that reads slower than messages come, at its
// client-output-buffer-limit for pubsub (by default 32 MB, or 8 MB for a
// minute): that is a gap.
//
// The user at Redis needs PUBLISH, SUBSCRIBE, PSUBSCRIBE, their opposites, PUBSUB, PING,
// INFO, CLIENT ID and CLIENT KILL, and all channels (&*).
//
// # What is proven
//
// EXCEPTIONS.md beside the source lists what of the contract the wire makes
// impossible. COMPATIBILITY.md lists what works with Python, by operation,
// direction and option; the tests that show it write it. They run with
// channels_redis 4.0.0, which has no JSON and whose PubSub does not encrypt, and
// were run with 4.3.0 (with channels 4.3.2), which has both: with it all passed,
// with every option. Package internal/pypeer tells how to run them with another
// version.
package channelsredis
