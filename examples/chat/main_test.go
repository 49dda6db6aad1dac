package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/internal/redistest"
)

// build makes the program, and a ctx that ends before go test gives up.
func build(t *testing.T) (ctx context.Context, binary string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	binary = filepath.Join(t.TempDir(), "chat")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return ctx, binary
}

// TestProgram runs the program as people do.
func TestProgram(t *testing.T) {
	ctx, binary := build(t)
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

// A Redis that cannot be used is said at the start, not later by what fails.
func TestBadRedis(t *testing.T) {
	ctx, binary := build(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	locked := redistest.Start(t, redistest.Config{Password: "right"}).Addr()
	for _, c := range []struct{ name, url, want string }{
		{"not Redis's", "http://127.0.0.1:6379", "redis://"},
		{"nobody there", "redis://" + closed.Addr().String(), "connection refused"},
		{"wrong password", "redis://:wrong@" + locked, "password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			out, err := exec.CommandContext(ctx, binary, "-addr", "127.0.0.1:0", "-redis", c.url).CombinedOutput()
			took := time.Since(began)
			// Before it comes what the layer logged while it tried.
			_, said, _ := strings.Cut("\n"+string(out), "\nchat: -redis: ")
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(said, c.want) {
				t.Errorf("with -redis %s the program ended with %v and said\n%s\nwant exit code 1, and after \"chat: -redis: \" that tells %q", c.url, err, out, c.want)
			}
			if took > connectTime+10*time.Second {
				t.Errorf("it took %v to say so, want %v at most", took, connectTime)
			}
			if strings.Contains(string(out), "wrong@") {
				t.Errorf("the password is in what the program said:\n%s", out)
			}
		})
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
