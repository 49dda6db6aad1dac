package mailbox

import "time"

// The sweeper bounds how late an expired message is counted, an abandoned
// channel found, and memory given back: after a quarter of the expiry, within
// these bounds. No message is delivered late: that is checked when it is taken.
const (
	maxSweepInterval = time.Second
	minSweepInterval = time.Millisecond
)

// sweepChunk is how many queues are visited while a lock is held.
const sweepChunk = 128

// runSweeper visits the active queues at intervals, as long as there are any,
// until stop is closed. With nothing to do it waits without a timer: an idle
// Set costs nothing, and a test with a fake clock sees a deadlock as one.
func (s *Set) runSweeper() {
	defer close(s.swept)
	interval := min(maxSweepInterval, max(minSweepInterval, s.expiry/4))
	for {
		select {
		case <-s.wake:
		case <-s.stop:
			return
		}
		for more := true; more; {
			select {
			case <-time.After(interval):
				more = s.sweep()
			case <-s.stop:
				return
			}
		}
	}
}

// wakeSweeper is called after a queue was made active. A queue that became so
// while the sweeper was at work is seen, or the sweeper is awake once more.
func (s *Set) wakeSweeper() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sweep visits all active queues, and reports whether some stay active.
func (s *Set) sweep() (more bool) {
	for i := range s.shards {
		if s.sweepShard(&s.shards[i]) {
			more = true
		}
	}
	return more
}

func (s *Set) sweepShard(sh *shard) (more bool) {
	sh.mu.Lock()
	rest := sh.active
	sh.active = nil
	var found []news
	for rest != nil {
		cutoff := s.now() - int64(s.expiry)
		for n := 0; rest != nil && n < sweepChunk; n++ {
			q := rest
			rest, q.next = q.next, nil
			event, stays := sh.visitLocked(q, cutoff)
			if event.expired > 0 || event.abandoned {
				found = append(found, event)
			}
			if stays {
				q.activity, q.next, sh.active = quiet, sh.active, q
			} else {
				q.activity = idle
			}
		}
		sh.mu.Unlock()
		for _, event := range found {
			s.tell(event)
		}
		found = found[:0]
		sh.mu.Lock()
	}
	more = sh.active != nil
	sh.mu.Unlock()
	return more
}

// visitLocked drops what has expired, and gives back the memory of a queue that
// was not used since the last visit. It reports whether to come again.
func (sh *shard) visitLocked(q *queue, cutoff int64) (event news, stays bool) {
	if q.gone {
		return news{}, false
	}
	event = sh.expireLocked(q, cutoff)
	if q.gone {
		return event, false
	}
	if q.length > 0 || q.activity == active || q.specific && q.quietSince != never {
		return event, true
	}
	q.ring, q.head = nil, 0
	if !q.specific && q.waiting == 0 {
		sh.removeLocked(q)
	}
	return event, false
}
