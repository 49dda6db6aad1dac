package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
)

const (
	// stopTime is how long jobs under way may take once the workers stop. What
	// has not finished then has failed, and says so.
	stopTime = 30 * time.Second

	// tellTime is for how long a worker tries to tell what became of a job
	// while the broker is away.
	tellTime = 10 * time.Second
)

// work takes jobs, as many at once as handlers says, until ctx ends; it then
// takes no more, and returns when those under way are done.
func work(ctx context.Context, bus layer.Layer, handlers int, log *slog.Logger) error {
	w := &worker{bus: bus, name: fmt.Sprint("process ", os.Getpid())}
	run, err := consumer.NewWorker(bus, consumer.WorkerOptions{
		Channels:    []string{jobs},
		Concurrency: handlers,
		Handlers:    map[string]consumer.Handler{"job.count": w.count},
		StopTimeout: stopTime,
		OnError:     func(job layer.Message, err error) { log.Error("job", "id", job.String("id"), "error", err) },
	})
	if err != nil {
		return err
	}
	err = run.Run(ctx)
	log.Info("stopped", "done", run.Stats().Handled, "failed", run.Stats().Failed)
	return err
}

type worker struct {
	bus  layer.Layer
	name string
}

// count is the handler of a job: it counts the primes below a number.
func (w *worker) count(ctx context.Context, job layer.Message) error {
	id, below := job.String("id"), job.Int("below")
	if below < 2 || below > maxBelow {
		return fmt.Errorf("below is %d", below) // not from our web: anything may be on a bus
	}
	// That somebody watches the work is no condition for doing it.
	told := w.tell(ctx, map[string]any{"type": "job.started", "id": id, "worker": w.name, "below": below})
	primes, err := countPrimes(ctx, below)
	if err != nil {
		return errors.Join(err, told, w.tell(ctx, map[string]any{"type": "job.failed", "id": id, "worker": w.name}))
	}
	return errors.Join(told, w.tell(ctx, map[string]any{
		"type": "job.done", "id": id, "worker": w.name, "below": below, "primes": primes,
	}))
}

// tell tells whoever watches, also after ctx ended. It tries again what was
// certainly not sent, and nothing else: nobody should hear it twice.
func (w *worker) tell(ctx context.Context, fields map[string]any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	msg := layer.NewMessage(fields)
	for {
		err := w.bus.GroupSend(ctx, progress, msg)
		if !errors.Is(err, layer.ErrNotSent) {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// countPrimes takes its time: it stands for real work.
func countPrimes(ctx context.Context, below int64) (primes int, err error) {
	for n := int64(2); n < below; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		prime := true
		for d := int64(2); d*d <= n && prime; d++ {
			prime = n%d != 0
		}
		if prime {
			primes++
		}
	}
	return primes, nil
}
