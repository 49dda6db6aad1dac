package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestProgram runs the program as people do.
func TestProgram(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	program := exec.CommandContext(ctx, binary, "-addr", "127.0.0.1:0", "-drain", "100ms") // killed when ctx ends
	log := new(strings.Builder)
	program.Stderr = log
	stdout, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	exited := false
	defer func() {
		if !exited {
			program.Process.Kill()
			program.Wait()
		}
	}()
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "Chat: http://")
	if !ok {
		t.Fatalf("the program printed %q, want its address", line)
	}

	response, err := http.Get("http://" + address + "room/lobby")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(page), "/page/chat.js") {
		t.Fatalf("GET /room/lobby gave %d, %v and %.200q, want the page", response.StatusCode, err, page)
	}

	ada, grace := enter(ctx, t, address, "Ada"), enter(ctx, t, address, "Grace")
	if err := ada.Write(ctx, websocket.MessageText, []byte(`{"type":"say","text":"hello"}`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*websocket.Conn{ada, grace} {
		await(ctx, t, c, `"text":"hello"`)
	}

	program.Process.Signal(syscall.SIGTERM)
	for _, c := range []*websocket.Conn{ada, grace} {
		if err := readToEnd(ctx, c); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("after SIGTERM a socket ended with %v, want status %d", err, websocket.StatusGoingAway)
		}
	}
	exited = true
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM the program ended with %v, want exit code 0; its log:\n%s", err, log)
	}
}

func enter(ctx context.Context, t *testing.T, address, name string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, "ws://"+address+"socket?room=lobby&name="+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	await(ctx, t, conn, `"chat.welcome"`)
	return conn
}

// await reads until a frame holds text.
func await(ctx context.Context, t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for a frame with %s: %v", text, err)
		}
		if strings.Contains(string(data), text) {
			return
		}
	}
}

func readToEnd(ctx context.Context, conn *websocket.Conn) error {
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			return err
		}
	}
}
