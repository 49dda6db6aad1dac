package link

import (
	"context"
	"errors"
	"log/slog"
)

// Outage tells a log of attempts to connect that fail in a row: each cause once,
// and that it is over. It is for one goroutine.
type Outage struct{ told string }

// Tell logs that an attempt failed, unless the one before failed likewise, or it
// was this side that gave it up.
func (o *Outage) Tell(log *slog.Logger, message string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if text := message + ": " + err.Error(); text != o.told {
		o.told = text
		log.Warn(message, "error", err)
	}
}

// Over logs that an attempt succeeded, if the one before did not.
func (o *Outage) Over(log *slog.Logger, message string) {
	if o.told != "" {
		o.told = ""
		log.Info(message)
	}
}
