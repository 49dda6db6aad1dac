package main

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// Two programs on one NATS, the first of which has started it, are one chat.
func TestTwoPrograms(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // it outlives the programs
	t.Cleanup(cancel)
	binary := filepath.Join(t.TempDir(), "chat")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "go build: %s", out)
	nats, first := launch(ctx, t, binary)
	_, second := launch(ctx, t, binary, "-nats", nats)
	ada, grace := enter(ctx, t, first, "Ada"), enter(ctx, t, second, "Grace")
	require.NoError(t, ada.Write(ctx, websocket.MessageText, []byte(`{"type":"say","text":"hello"}`)))
	await(ctx, t, grace, `"text":"hello"`)
	require.NoError(t, grace.Write(ctx, websocket.MessageText, []byte(`{"type":"say","text":"good day"}`)))
	await(ctx, t, ada, `"text":"good day"`)
}

// launch starts the program, and ends it with the test.
func launch(ctx context.Context, t *testing.T, binary string, args ...string) (nats, chat string) {
	t.Helper()
	program := exec.CommandContext(ctx, binary, append(args, "-addr", "127.0.0.1:0", "-drain", "50ms")...)
	stdout, err := program.StdoutPipe()
	require.NoError(t, err)
	program.Stderr = t.Output()
	require.NoError(t, program.Start())
	t.Cleanup(func() {
		program.Process.Signal(syscall.SIGTERM)
		if err := program.Wait(); err != nil {
			t.Errorf("after SIGTERM the program ended with %v, want exit code 0", err)
		}
	})
	lines := bufio.NewReader(stdout)
	for _, want := range []struct {
		prefix string
		to     *string
	}{{"NATS: ", &nats}, {"Chat: http://", &chat}} {
		line, _ := lines.ReadString('\n')
		text, ok := strings.CutPrefix(strings.TrimSpace(line), want.prefix)
		require.True(t, ok, "the program printed %q, want %q and an address", line, want.prefix)
		*want.to = text
	}
	return nats, chat
}

func enter(ctx context.Context, t *testing.T, address, name string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, "ws://"+address+"socket?room=lobby&name="+name, nil)
	require.NoError(t, err)
	t.Cleanup(func() { conn.CloseNow() })
	await(ctx, t, conn, `"chat.welcome"`)
	return conn
}

// await reads until a frame holds text.
func await(ctx context.Context, t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	for {
		_, data, err := conn.Read(ctx)
		require.NoError(t, err, "waiting for a frame with %s", text)
		if strings.Contains(string(data), text) {
			return
		}
	}
}
