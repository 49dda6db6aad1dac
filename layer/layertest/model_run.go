package layertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func modelChecks() []check {
	return []check{
		{Name: "Model/random_operations", Run: checkModel,
			Doc: "Random operations on channels of both kinds and on groups, with time passing, do what a simple model of the contract does. A failure is shrunk to few steps."},
	}
}

func checkModel(c *checker) {
	runs, steps, attempts := 150, 80, 400
	if !c.backend.Clock.Virtual {
		runs, steps, attempts = 3, 40, 0
	}
	rng := c.random()
	for run := range runs {
		ops := randomOps(rng, steps)
		problem := c.runModel(ops)
		if problem == "" {
			continue
		}
		ops = shrink(ops, attempts, func(ops []modelOp) bool {
			p := c.runModel(ops)
			if p != "" {
				problem = p
			}
			return p != ""
		})
		c.fatalf("run %d with seed %d: after %d steps, %s\nthe steps:\n%s", run, c.seed, len(ops), problem, listOps(ops))
	}
}

func randomOps(rng *rand.Rand, steps int) []modelOp {
	total := 0
	for _, w := range modelWeights {
		total += w
	}
	ops := make([]modelOp, steps)
	for i := range ops {
		kind, at := modelKind(0), rng.IntN(total)
		for at >= modelWeights[kind] {
			at -= modelWeights[kind]
			kind++
		}
		ops[i] = modelOp{kind, rng.IntN(modelChannels), rng.IntN(modelGroups)}
	}
	return ops
}

func listOps(ops []modelOp) string {
	var b strings.Builder
	for i, op := range ops {
		fmt.Fprintf(&b, "%4d. %v\n", i+1, op)
	}
	return b.String()
}

// modelRun is a layer and the model that it is compared with.
type modelRun struct {
	*model
	c       *checker
	p       *proc
	start   time.Time
	slept   time.Duration
	waiting map[*modelChannel][]*modelWaiter
	nextID  int

	uncertain uint64 // channels of which it is not certain that they count as abandoned
}

type modelWaiter struct {
	*pending
	cancel context.CancelFunc
}

// runModel returns how the layer differs from the model, or "".
func (c *checker) runModel(ops []modelOp) string {
	p := c.start(layer.Limits{Capacity: modelCapacity, CapacityRules: []layer.CapacityRule{{Pattern: "small", Capacity: modelSmall}},
		Expiry: modelExpiry * c.unit, GroupExpiry: modelGroupExpiry * c.unit})
	r := &modelRun{model: &model{}, c: c, p: p, start: time.Now(), waiting: map[*modelChannel][]*modelWaiter{}}
	for range modelSpecific {
		r.channels = append(r.channels, r.newChannel())
	}
	r.channels = append(r.channels,
		&modelChannel{name: "jobs", capacity: modelCapacity}, &modelChannel{name: "small", capacity: modelSmall})
	for range modelGroups {
		r.groups = append(r.groups, map[*modelChannel]int{})
	}
	defer p.close()
	for _, op := range ops {
		if problem := r.step(op); problem != "" {
			if r.tooSlow() {
				return ""
			}
			return fmt.Sprintf("%v: %s", op, problem)
		}
		if r.tooSlow() {
			return "" // what expired when is not certain any more
		}
	}
	if problem := r.end(); !r.tooSlow() {
		return problem
	}
	return ""
}

// tooSlow reports whether more time passed than the model knows of.
func (r *modelRun) tooSlow() bool {
	return !r.c.backend.Clock.Virtual && time.Since(r.start)-r.slept > 3*r.c.unit/2
}

func (r *modelRun) newChannel() *modelChannel {
	return &modelChannel{name: r.p.mustNewChannel(), specific: true, capacity: modelCapacity}
}

func (r *modelRun) step(op modelOp) string {
	ch := r.channels[op.channel]
	group := fmt.Sprint("group", op.group)
	switch op.kind {
	case doSend:
		return r.send(ch)
	case doGroupSend:
		r.nextID++
		if err := r.p.groupSend(group, numbered("m", r.nextID)); err != nil {
			return fmt.Sprintf("returned error %v", err)
		}
		for _, member := range r.groupPut(op.group, r.nextID) {
			if problem := r.handed(member, r.nextID); problem != "" {
				return problem
			}
		}
	case doReceive:
		return r.receive(ch)
	case doReceiveBatch:
		return r.receiveBatch(ch)
	case doWait:
		return r.wait(ch)
	case doCancel:
		return r.cancel(ch)
	case doAdd:
		err := r.p.groupAdd(r.c.ctx, group, ch.name)
		if ch.gone {
			return wantError(err, layer.ErrChannelGone)
		}
		r.groups[op.group][ch] = r.now + modelGroupExpiry
		return wantNil(err)
	case doDiscard:
		delete(r.groups[op.group], ch)
		return wantNil(r.p.groupDiscard(r.c.ctx, group, ch.name))
	case doRelease:
		return r.release(ch)
	case doNewChannel:
		if ch.specific && ch.gone {
			r.channels[op.channel] = r.newChannel()
		}
	case doPassShort:
		r.passBoth(modelShort)
	case doPassLong:
		r.passBoth(modelLong)
	}
	return ""
}

func wantNil(err error) string {
	if err != nil {
		return fmt.Sprintf("returned error %v, want nil", err)
	}
	return ""
}

func (r *modelRun) passBoth(units int) {
	r.c.sleep(float64(units))
	r.slept += time.Duration(units) * r.c.unit
	r.pass(units)
}

func (r *modelRun) send(ch *modelChannel) string {
	r.nextID++
	err := r.p.send(ch.name, numbered("m", r.nextID))
	switch r.put(ch, r.nextID) {
	case refusedGone:
		return wantError(err, layer.ErrChannelGone)
	case refusedFull:
		return wantError(err, layer.ErrChannelFull)
	case handedOver:
		r.sent++
		if err == nil {
			return r.handed(ch, r.nextID)
		}
	case accepted:
		r.sent++
	}
	return wantNil(err)
}

// handed checks that the receiver that waited longest got the message.
func (r *modelRun) handed(ch *modelChannel, id int) string {
	w := r.waiting[ch][0]
	r.waiting[ch] = r.waiting[ch][1:]
	msg, err := w.result()
	w.cancel()
	r.receiving(ch)
	if err != nil || !msg.Equal(numbered("m", id)) {
		return fmt.Sprintf("the receiver that waited longest on channel %q got %v, error %v, want message n:%d", ch.name, msg, err, id)
	}
	return ""
}

// brief is how long a Receive waits where nothing should come. The model does
// not know of that time, so that it must stay short.
func (r *modelRun) brief() time.Duration {
	if r.c.backend.Clock.Virtual {
		return r.c.unit / 1000
	}
	return r.c.unit / 20
}

func (r *modelRun) receive(ch *modelChannel) string {
	if !ch.gone && len(ch.unread) == 0 {
		msg, err := r.p.receive(ch.name, r.brief())
		r.receiving(ch)
		if problem := wantError(err, context.DeadlineExceeded); problem != "" {
			return fmt.Sprintf("the channel is empty; it returned %v: %s", msg, problem)
		}
		return ""
	}
	msg, err := r.p.receive(ch.name, arriveLimit)
	if ch.gone {
		return wantError(err, layer.ErrChannelGone)
	}
	want := ch.unread[0].id
	r.receiving(ch)
	r.take(ch, 1)
	if err != nil || !msg.Equal(numbered("m", want)) {
		return fmt.Sprintf("it returned %v, error %v, want message n:%d", msg, err, want)
	}
	return ""
}

func (r *modelRun) receiveBatch(ch *modelChannel) string {
	if ch.gone || len(ch.unread) == 0 {
		return r.receive(ch)
	}
	buf := make([]layer.Message, 3)
	n, err := r.p.batch(r.c.ctx, ch.name, buf)
	if most := min(len(buf), len(ch.unread)); err != nil || n < 1 || n > most {
		return fmt.Sprintf("with room for %d it returned %d, error %v, want 1 to %d", len(buf), n, err, most)
	}
	for i, msg := range buf[:n] {
		if want := ch.unread[i].id; !msg.Equal(numbered("m", want)) {
			return fmt.Sprintf("it returned %v, want message n:%d", msg, want)
		}
	}
	r.receiving(ch)
	r.take(ch, n)
	return ""
}

// wait starts a Receive where the channel is empty.
func (r *modelRun) wait(ch *modelChannel) string {
	if ch.gone || len(ch.unread) > 0 {
		return ""
	}
	ctx, cancel := context.WithCancel(r.c.ctx)
	w := &modelWaiter{r.p.startReceive(ctx, ch.name), cancel}
	r.receiving(ch)
	r.c.settle()
	if w.returned() {
		cancel()
		return fmt.Sprintf("the channel is empty; Receive returned %v, error %v, want it to wait", w.msg, w.err)
	}
	r.waiting[ch] = append(r.waiting[ch], w)
	ch.waiting++
	return ""
}

// cancel cancels the Receive that has waited longest.
func (r *modelRun) cancel(ch *modelChannel) string {
	if ch.waiting == 0 {
		return ""
	}
	ch.waiting--
	w := r.waiting[ch][0]
	r.waiting[ch] = r.waiting[ch][1:]
	w.cancel()
	r.receiving(ch)
	_, err := w.result()
	return wantError(err, context.Canceled)
}

func (r *modelRun) release(ch *modelChannel) string {
	if !ch.specific {
		return ""
	}
	if ch.gone && r.p.seen.abandonedTimes(ch.name) == 0 {
		r.uncertain++ // released before the layer found that it is abandoned
	}
	err := layer.Release(r.c.ctx, r.p.layer, ch.name)
	if errors.Is(err, errors.ErrUnsupported) {
		return ""
	}
	if !ch.gone {
		r.endChannel(ch)
	}
	for _, w := range r.waiting[ch] {
		_, got := w.result()
		w.cancel()
		if problem := wantError(got, layer.ErrChannelGone); problem != "" {
			return "a receiver that waited: " + problem
		}
	}
	delete(r.waiting, ch)
	return wantNil(err)
}

// end compares the books: everything unread is received or expires, and what
// the layer counted is what the model counted.
func (r *modelRun) end() string {
	for _, ch := range r.channels {
		for range len(ch.unread) / 2 {
			if problem := r.receive(ch); problem != "" {
				return fmt.Sprintf("at the end, Receive on %q: %s", ch.name, problem)
			}
		}
	}
	r.passBoth(modelLong)
	var problem string
	r.c.eventually(func() bool { problem = r.compare(); return problem == "" })
	return problem
}

func (r *modelRun) compare() string {
	drops := r.p.seen.dropped()
	late := drops[layer.DropExpired] + drops[layer.DropClosed]
	if drops[layer.DropFull] != r.full || late != r.late || drops.Total() != r.full+r.late {
		return fmt.Sprintf("the observer was told of drops %s, want full: %d, expired or closed: %d", describe(drops), r.full, r.late)
	}
	stats, ok := layer.ReadStats(r.p.layer)
	if !ok {
		return ""
	}
	want := layer.Stats{Sent: r.sent, GroupSent: r.groupSent, Received: r.received, Abandoned: r.abandoned, Dropped: drops}
	if missing := want.Abandoned - stats.Abandoned; missing <= r.uncertain {
		want.Abandoned = stats.Abandoned
	}
	if stats != want {
		return fmt.Sprintf("Stats are %+v, want %+v", stats, want)
	}
	return ""
}
