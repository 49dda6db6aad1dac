package redislayer

// TellAll does at once what the next heartbeat does for normal channels.
func (l *Layer) TellAll() { l.queues.tellAll() }

// LeaseScript is scripts/lease.lua.
var LeaseScript = leaseScript.Source

// LineScript is scripts/line.lua.
var LineScript = lineScript.Source

// Process returns the layer's name for itself.
func (l *Layer) Process() string { return l.name }
