package redislayer

// keys decides where everything lives at Redis. It is the one place that does.
//
// On a Cluster a key's place is that of its hash tag, which stands in braces:
// what belongs to one process is in one slot, and so is what belongs to one
// group, and to one normal channel.
type keys struct {
	prefix  string
	cluster bool
}

func (k keys) inboxes() string               { return k.prefix + ":inbox:" }
func (k keys) leases() string                { return k.prefix + ":lease:" }
func (k keys) inbox(process string) string   { return k.inboxes() + k.tag(process) }
func (k keys) lease(process string) string   { return k.leases() + k.tag(process) }
func (k keys) check(process string) string   { return k.prefix + ":check:" + k.tag(process) }
func (k keys) group(group string) string     { return k.prefix + ":group:" + k.tag(group) }
func (k keys) queue(channel string) string   { return k.prefix + ":queue:" + k.tag(channel) }
func (k keys) waiting(channel string) string { return k.prefix + ":waiting:" + k.tag(channel) }

// aside is only on a Cluster: messages set aside for processes that wait.
func (k keys) aside(channel string) string { return k.prefix + ":aside:" + k.tag(channel) }

// unread are patterns of all keys of groups and normal channels.
func (k keys) unread() []string {
	return []string{k.prefix + ":queue:*", k.prefix + ":waiting:*", k.prefix + ":aside:*", k.prefix + ":group:*"}
}

// tag returns how a name stands in keys.
func (k keys) tag(name string) string {
	if k.cluster {
		return "{" + name + "}"
	}
	return name
}

// Members of a group at Redis.
func processMember(process, incarnation string) string { return "p" + process + "/" + incarnation }
func normalMember(channel string) string               { return "n" + channel }
