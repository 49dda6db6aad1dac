//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/internal/testneed"
)

// patience is how long a test waits for something to come true.
const patience = 30 * time.Second

// instance is the program, running.
type instance struct {
	cmd              *exec.Cmd
	log              *strings.Builder // complete when wait has returned
	temp             string           // its directory for temporary files
	django, goServer string           // host:port
	children         []int            // process ids
}

// start builds and starts the program, and returns when it has said where it
// serves.
func start(t *testing.T, flags ...string) *instance {
	t.Helper()
	if _, err := findPython(t.Context(), ""); err != nil {
		testneed.Missing(t, err.Error(), "see above")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	binary := filepath.Join(t.TempDir(), "django")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := &instance{log: new(strings.Builder), temp: t.TempDir()}
	p.cmd = exec.CommandContext(ctx, binary, append([]string{"-addr", "127.0.0.1:0", "-django", "127.0.0.1:0", "-drain", "100ms"}, flags...)...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.temp)
	p.cmd.Stderr = p.log
	p.cmd.WaitDelay = patience // for those who have inherited its standard error
	stdout, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("its log:\n%s", p.log)
		}
	})
	lines := bufio.NewReader(stdout)
	for _, said := range []struct {
		name    string
		address *string
	}{{"Django", &p.django}, {"Go", &p.goServer}} {
		line, err := lines.ReadString('\n')
		var ok bool
		if *said.address, ok = strings.CutPrefix(strings.TrimSuffix(line, "/\n"), said.name+": http://"); !ok {
			p.cmd.Wait()
			t.Fatalf("the program printed %q (%v), want %s's address; its log:\n%s", line, err, said.name, p.log)
		}
	}
	p.children = children(t, p.cmd.Process.Pid)
	return p
}

// commandLine returns how a process was started, if it can be seen.
func commandLine(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
}

// children returns the ids of a process's children, in no order.
func children(t *testing.T, pid int) (ids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(tasks) == 0 {
		testneed.Missing(t, fmt.Sprintf("a list of a process's children in /proc (%v)", err), "a Linux kernel has it")
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(text)) {
			id, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
	}
	return ids
}

// leavesNothing checks that no process and no file of the program is left.
func (p *instance) leavesNothing(t *testing.T) {
	t.Helper()
	for _, id := range p.children {
		for began := time.Now(); syscall.Kill(id, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > patience {
				t.Fatalf("process %d (%s) is still there %v after the program", id, commandLine(id), patience)
			}
		}
	}
	files, err := os.ReadDir(p.temp)
	if err != nil || len(files) > 0 {
		t.Errorf("it has left the files %v (%v)", files, err)
	}
}

// enter opens a WebSocket as a page would that was served from the origin.
func enter(t *testing.T, url, origin string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
	if err != nil {
		t.Fatalf("opening %s: %v", url, err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

func (p *instance) enterDjango(t *testing.T, name string) *websocket.Conn {
	t.Helper()
	return enter(t, "ws://"+p.django+"/ws/chat/garden/?name="+name, "http://"+p.django)
}

func (p *instance) enterGo(t *testing.T, name string) *websocket.Conn {
	t.Helper()
	return enter(t, "ws://"+p.goServer+"/socket?room=garden&name="+name, "http://"+p.goServer)
}

// awaitFrame reads until a frame holds all the texts.
func awaitFrame(t *testing.T, conn *websocket.Conn, texts ...string) {
	t.Helper()
	if err := readUntil(t.Context(), conn, texts...); err != nil {
		t.Fatal(err)
	}
}

func readUntil(ctx context.Context, conn *websocket.Conn, texts ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var seen []string
frames:
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("waiting for a frame with %q: %w; there came\n%s", texts, err, strings.Join(seen, "\n"))
		}
		seen = append(seen, string(data))
		for _, text := range texts {
			if !strings.Contains(string(data), text) {
				continue frames
			}
		}
		return nil
	}
}

func say(t *testing.T, conn *websocket.Conn, frame string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// TestProgram runs the program as people do.
func TestProgram(t *testing.T) {
	p := start(t)
	if len(p.children) != 3 {
		t.Errorf("the program has the children %v, want 3: the keeper, redis-server and daphne", p.children)
	}
	ada := p.enterDjango(t, "Ada")
	awaitFrame(t, ada, `"chat.joined"`, `"Ada"`)
	grace := p.enterGo(t, "Grace")
	awaitFrame(t, ada, `"chat.joined"`, `"Grace"`)
	awaitFrame(t, grace, `"chat.here"`, `"Ada"`)
	linus := p.enterDjango(t, "Linus")
	awaitFrame(t, linus, `"chat.here"`, `"Grace"`)
	awaitFrame(t, grace, `"chat.joined"`, `"Linus"`)

	say(t, ada, `{"text": "from Django <b>"}`)
	for _, conn := range []*websocket.Conn{ada, grace, linus} {
		awaitFrame(t, conn, `"chat.said"`, `"Ada"`, `"from Django `)
	}
	say(t, grace, `{"type": "say", "text": "from Go"}`)
	for _, conn := range []*websocket.Conn{ada, grace, linus} {
		awaitFrame(t, conn, `"chat.said"`, `"Grace"`, `"from Go"`)
	}
	// What is not understood costs nobody the connection.
	for _, frame := range []string{`{"text": 7}`, `{"text": " "}`, `[]`, `{"text": "` + strings.Repeat("x", 2001) + `"}`} {
		say(t, linus, frame)
	}
	say(t, linus, `{"text": "still here"}`)
	awaitFrame(t, ada, `"still here"`)
	linus.Close(websocket.StatusNormalClosure, "")
	awaitFrame(t, grace, `"chat.left"`, `"Linus"`)
	// Who ends in an error leaves the room as well.
	kurt := p.enterDjango(t, "Kurt")
	awaitFrame(t, grace, `"chat.joined"`, `"Kurt"`)
	say(t, kurt, "no JSON")
	awaitFrame(t, grace, `"chat.left"`, `"Kurt"`)

	p.cmd.Process.Signal(os.Interrupt)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGINT the program ended with %v, want exit code 0; its log:\n%s", err, p.log)
	}
	p.leavesNothing(t)
}

// Pages of other sites get no WebSocket.
func TestOriginsAreChecked(t *testing.T) {
	p := start(t)
	for name, url := range map[string]string{
		"Django": "ws://" + p.django + "/ws/chat/garden/?name=Ada",
		"Go":     "ws://" + p.goServer + "/socket?room=garden&name=Ada",
	} {
		_, response, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://elsewhere.example"}}})
		if err == nil || response == nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("%s answered a page of another site with %v, %v, want status 403", name, response, err)
		}
	}
}

// Redis may go away and come back with nothing: Go's sockets stay, Django's end
// and their pages connect again, and then they hear each other as before.
func TestRedisComesBack(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	p := start(t, "-redis", redis.URL())
	ada, grace := p.enterDjango(t, "Ada"), p.enterGo(t, "Grace")
	awaitFrame(t, ada, `"chat.joined"`, `"Grace"`)

	// Redis stays away until Django has noticed: a receiver of Python's that asks
	// for nothing just then would go on, in no group.
	redis.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err := error(nil); err == nil; {
		_, _, err = ada.Read(ctx)
	}
	if ctx.Err() != nil {
		t.Fatalf("%v after Redis went away, a socket of Django's is still open", patience)
	}
	redis.RestartEmpty(t)

	ada = p.enterDjango(t, "Ada")
	// What is said before Go has its place in the room again is lost.
	heard := make(chan error, 1)
	go func() { heard <- readUntil(t.Context(), grace, `"are you there?"`) }()
	for waiting := true; waiting; {
		say(t, ada, `{"text": "are you there?"}`)
		select {
		case err := <-heard:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	say(t, grace, `{"type": "say", "text": "yes"}`)
	awaitFrame(t, ada, `"Grace"`, `"yes"`)
}

// What it has started ends with it, also when it cannot say so.
func TestKilledProgramLeavesNothing(t *testing.T) {
	p := start(t)
	p.enterDjango(t, "Ada")
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.leavesNothing(t)
}

// A program that ends by itself is said to have, and ends the others.
func TestLostProgramIsSaid(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	p := start(t, "-redis", redis.URL())
	if len(p.children) != 2 {
		t.Fatalf("with -redis, the program has the children %v, want 2: the keeper and daphne", p.children)
	}
	for _, id := range p.children {
		if strings.Contains(commandLine(id), "daphne") {
			syscall.Kill(id, syscall.SIGKILL)
		}
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(p.log.String(), "daphne") || !strings.Contains(p.log.String(), "ended by itself: signal: killed") {
		t.Errorf("when daphne was killed the program ended with %v and said\n%s\nwant exit code 1, and that daphne ended by itself", err, p.log)
	}
	p.leavesNothing(t)
}
