package redislayer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer"
)

func TestBadURLKeepsItsPassword(t *testing.T) {
	_, err := redislayer.Open(t.Context(), "redis://:secret@host:port", redislayer.Options{})
	require.Error(t, err)
	require.Contains(t, err.Error(), "port")
	require.NotContains(t, err.Error(), "secret")
}
