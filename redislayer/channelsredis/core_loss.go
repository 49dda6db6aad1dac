package channelsredis

import "time"

// replaced is why messages may have been lost with a server.
const replaced = "redis was restarted or replaced"

// lose takes note that messages that were sent since from may have been lost with a
// connection to a server. It is told when the server has answered again; if the
// server is gone, it is told already.
func (w *writer) lose(runID string, from time.Time, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if runID != w.gone {
		w.loseLocked(from, why)
	}
}

func (w *writer) loseLocked(from time.Time, why string) {
	if w.lostWhy == "" || from.Before(w.lostFrom) {
		w.lostFrom = from
	}
	w.lostWhy = why
}

// replacedBy takes note of what the server that was there may have taken with it,
// which answered last at that time. Nobody reads there any more.
func (w *writer) replacedBy(runID string, lastGood time.Time) {
	from := lastGood
	for _, p := range w.c.hosts[w.host].poppers() {
		p.follow(runID)
		if oldest := p.oldest(lastGood); oldest.Before(from) {
			from = oldest
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loseLocked(from, replaced)
	w.gone = w.runID
}

// met is told by a popper that there is another server. If the writer has not met
// it, what the last one held may be lost; it is told when the writer has followed.
func (w *writer) met(runID string, from time.Time) {
	w.mu.Lock()
	if runID == w.runID {
		w.mu.Unlock()
		return
	}
	w.loseLocked(from, replaced)
	w.ahead = true
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		conn.Pipe.Cut() // says goodbye where it speaks TLS
	}
}

// knowsClockOf reports whether the time at a server is known.
func (w *writer) knowsClockOf(runID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runID == runID
}

// tellLost reports what was lost, unless the writer is to follow to another server
// first, where memberships are to be restored.
func (w *writer) tellLost() {
	w.mu.Lock()
	if w.ahead {
		w.mu.Unlock()
		return
	}
	from, why := w.lostFrom, w.lostWhy
	w.lostWhy = ""
	w.mu.Unlock()
	if why != "" {
		w.c.gap(from, time.Now(), why)
	}
}
