// Package pypeer runs the real Python package channels_redis for tests: Debian's,
// under /usr/bin/python3.
//
//	python := pypeer.Start(t)
//	theirs := python.Core(pypeer.Options{Hosts: []string{server.URL()}})
//	channel := theirs.NewChannel()
//	theirs.Send("jobs", map[string]any{"type": "job.run"})
//	message := theirs.Receive(channel, time.Second)
//
// Where the packages are not installed, Start skips the test (see package
// testneed). The process ends with its test, or with the test program if that
// dies.
//
// # Another version
//
// Debian's channels_redis is 4.0.0. To test with another, name a directory that
// holds it, such as a checkout of its repository, in the environment. Versions from
// 4.3 on need a later channels, too, which may be in the same directory (4.3.2
// works with Debian's Django 3.2 as far as is needed here):
//
//	git clone --branch 4.3.0 https://github.com/django/channels_redis /tmp/later
//	git clone --branch 4.3.2 https://github.com/django/channels /tmp/channels
//	cp -r /tmp/channels/channels /tmp/later
//	CHANNELLAYER_CHANNELS_REDIS=/tmp/later go test -run 'Interop|Python' ./redislayer/channelsredis
//
// What it needs besides is Debian's. Tests of what only later versions have (see
// [HasSerializers]) are there only then.
//
// # Errors
//
// Methods fail the test if Python raises, and must be called from the test's own
// goroutine. [Layer.Try] and the methods named Try... return an [Error] instead,
// and may be called from any goroutine; several calls are under way in Python at
// once, as in its event loop.
//
// # Values
//
// What goes in may be nil, bool, any integer, float64, string, []byte, []any,
// map[string]any (its keys in order) and [Source], Python text for what Go does
// not have. What comes out is of these types too: int64, or *big.Int beyond it.
package pypeer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "embed"

	"github.com/channellayer/channellayer/internal/testneed"
)

//go:embed peer.py
var script string

// Interpreter is the Python that has Debian's packages.
const Interpreter = "/usr/bin/python3"

// Process is a Python process, in which layers can be made.
type Process struct {
	tb     testing.TB
	cmd    *exec.Cmd
	input  io.WriteCloser
	stderr *tail
	ended  chan struct{} // closed when nothing more is answered

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer // nil once nothing more is answered
}

type answer struct {
	ID    int             `json:"id"`
	OK    json.RawMessage `json:"ok"`
	Error string          `json:"error"`
	Text  string          `json:"text"`
}

// Error is an exception that Python raised.
type Error struct {
	Type string // its class, such as "ChannelFull" or "TimeoutError"
	Text string
}

func (e *Error) Error() string { return "Python: " + e.Type + ": " + e.Text }

// IsType reports whether err is a Python exception of that class.
func IsType(err error, class string) bool {
	raised, ok := errors.AsType[*Error](err)
	return ok && raised.Type == class
}

// errEnded is the error of calls to a process that is gone.
var errEnded = errors.New("pypeer: the Python process has ended")

// Directory is the environment variable that names the directory of another
// version of channels_redis.
const Directory = "CHANNELLAYER_CHANNELS_REDIS"

// python makes a command that runs a script. The directory that was given, if
// any, comes before Debian's packages.
func python(script string) *exec.Cmd {
	cmd := exec.Command(Interpreter, "-c", script)
	if dir := os.Getenv(Directory); dir != "" {
		path := dir
		if others := os.Getenv("PYTHONPATH"); others != "" {
			path += string(filepath.ListSeparator) + others
		}
		cmd.Env = append(os.Environ(), "PYTHONPATH="+path)
	}
	return cmd
}

// found is which channels_redis there is.
type found struct {
	Version     string `json:"version"`
	File        string `json:"file"`
	Serializers bool   `json:"serializers"`
	err         error
}

const lookScript = `
import importlib.util, json
import channels, channels_redis.core, channels_redis.pubsub, cryptography
print(json.dumps({
    "version": channels_redis.__version__, "file": channels_redis.__file__,
    "serializers": importlib.util.find_spec("channels_redis.serializers") is not None,
}))`

var look = sync.OnceValue(func() (f found) {
	out, err := python(lookScript).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %.500s", err, exit.Stderr)
	}
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if dir := os.Getenv(Directory); err == nil && dir != "" && !within(dir, f.File) {
		err = fmt.Errorf("%s names %s, but Python found %s", Directory, dir, f.File)
	}
	f.err = err
	return f
})

func within(dir, file string) bool {
	dir, err := filepath.Abs(dir)
	return err == nil && strings.HasPrefix(file, dir+string(filepath.Separator))
}

// Need skips the test if the Python packages are not there. If those that
// [Directory] names are not, the test fails.
func Need(tb testing.TB) {
	tb.Helper()
	switch err := look().err; {
	case err == nil:
	case os.Getenv(Directory) != "":
		tb.Fatalf("pypeer: %v", err)
	default:
		testneed.Missing(tb, "Python's channels_redis: "+err.Error(), "on Debian: apt-get install python3-channels-redis python3-cryptography")
	}
}

// Version is that of channels_redis, such as "4.0.0", or "" if there is none.
func Version() string { return look().Version }

// HasSerializers reports whether channels_redis is 4.2.1 or later: then it has
// serializer_format and random_prefix_length, and its PubSub encrypts. Debian's is
// not.
func HasSerializers() bool { return look().Serializers }

// Start starts a process, which ends with the test.
func Start(tb testing.TB) *Process {
	tb.Helper()
	Need(tb)
	p := &Process{
		tb: tb, cmd: python(script), stderr: &tail{},
		waiting: map[int]chan answer{}, ended: make(chan struct{}),
	}
	p.cmd.Stderr = p.stderr
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go p.read(output)
	tb.Cleanup(func() {
		p.Kill()
		if text := p.stderr.String(); tb.Failed() && text != "" {
			tb.Logf("the end of what Python wrote to stderr:\n%s", text)
		}
	})
	return p
}

// Kill ends the process at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// PID is the process's id, to stop and continue it by signals.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// read gives answers to whoever waits for them.
func (p *Process) read(output io.Reader) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var a answer
		if json.Unmarshal(line, &a) != nil {
			continue
		}
		p.mu.Lock()
		answered := p.waiting[a.ID]
		delete(p.waiting, a.ID)
		p.mu.Unlock()
		if answered != nil {
			answered <- a
		}
	}
	p.mu.Lock()
	for _, answered := range p.waiting {
		close(answered)
	}
	p.waiting = nil
	p.mu.Unlock()
	p.cmd.Wait()
	close(p.ended)
}

// limit is how long a call may take, beyond a timeout of its own.
const limit = time.Minute

// call runs an operation of the script and waits for the answer.
func (p *Process) call(op string, args map[string]any) (json.RawMessage, error) {
	answered := make(chan answer, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.mu.Unlock()
		return nil, errEnded
	}
	p.last++
	id := p.last
	p.waiting[id] = answered
	line, err := json.Marshal(map[string]any{"id": id, "op": op, "args": args})
	if err == nil {
		_, err = p.input.Write(append(line, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("pypeer: %w", err)
	}
	give := time.NewTimer(limit + seconds(args))
	defer give.Stop()
	select {
	case a, ok := <-answered:
		switch {
		case !ok:
			return nil, errEnded
		case a.Error != "":
			return nil, &Error{a.Error, a.Text}
		}
		return a.OK, nil
	case <-give.C:
		return nil, fmt.Errorf("pypeer: no answer to %s within %v", op, limit)
	}
}

// seconds is the timeout among the arguments.
func seconds(args map[string]any) time.Duration {
	s, _ := args["timeout"].(float64)
	return time.Duration(s * float64(time.Second))
}

// must ends the test on an error.
func (p *Process) must(op string, err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatalf("%s: %v", op, err)
	}
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
