package redislayer

import "strings"

// keys decides where everything lives at Redis. It is the one place that does.
type keys struct{ prefix string }

func (k keys) inboxes() string               { return k.prefix + ":inbox:" }
func (k keys) leases() string                { return k.prefix + ":lease:" }
func (k keys) inbox(process string) string   { return k.inboxes() + process }
func (k keys) lease(process string) string   { return k.leases() + process }
func (k keys) check(process string) string   { return k.prefix + ":check:" + process }
func (k keys) group(group string) string     { return k.prefix + ":group:" + group }
func (k keys) queue(channel string) string   { return k.prefix + ":queue:" + channel }
func (k keys) waiting(channel string) string { return k.prefix + ":waiting:" + channel }

// processOf returns which process a process-specific channel belongs to: what
// stands between the last '.' and the '!'. Of a name that no process here
// made, it returns something that is no process.
func processOf(channel string) string {
	name, _, _ := strings.Cut(channel, "!")
	return name[strings.LastIndexByte(name, '.')+1:]
}

// Members of a group at Redis.
func processMember(process, incarnation string) string { return "p" + process + "/" + incarnation }
func normalMember(channel string) string               { return "n" + channel }
