package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A log hears each cause of an outage once, however long it lasts, and its end.
func TestOutage(t *testing.T) {
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var o Outage
	o.Over(log, "there")
	o.Tell(log, "away", fmt.Errorf("dial: %w", context.Canceled)) // the layer is being closed
	for _, cause := range []string{"refused", "refused", "refused", "password", "password", "refused"} {
		o.Tell(log, "away", errors.New(cause))
	}
	o.Over(log, "there")
	o.Over(log, "there")
	o.Tell(log, "away", errors.New("refused"))
	require.Equal(t, `level=WARN msg=away error=refused
level=WARN msg=away error=password
level=WARN msg=away error=refused
level=INFO msg=there
level=WARN msg=away error=refused
`, text.String())
}
